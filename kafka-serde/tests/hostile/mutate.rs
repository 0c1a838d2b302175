//! Payloads that are nearly in order.

/// A stream of numbers, the same for the same seed.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    pub(crate) fn roll(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % below.max(1) as u64) as usize
    }

    fn byte(&mut self) -> u8 {
        // Small numbers, claims of much, and anything.
        match self.roll(4) {
            0 => self.roll(8) as u8,
            1 => [0x7f, 0x80, 0xfe, 0xff, 0x01, 0x02][self.roll(6)],
            _ => self.roll(256) as u8,
        }
    }

    pub(crate) fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.byte()).collect()
    }

    /// One of the seeds with a few wounds, or nothing but noise.
    pub(crate) fn payload(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        if seeds.is_empty() || self.roll(8) == 0 {
            let length = self.roll(80);
            return self.bytes(length);
        }
        let mut bytes = seeds[self.roll(seeds.len())].clone();
        for _ in 0..=self.roll(4) {
            let at = self.roll(bytes.len() + 1);
            match self.roll(7) {
                0 => bytes.truncate(at),
                1 if at < bytes.len() => bytes[at] ^= 1 << self.roll(8),
                2 if at < bytes.len() => bytes[at] = self.byte(),
                3 => bytes.insert(at, self.byte()),
                4 if at < bytes.len() => drop(bytes.remove(at)),
                // A length of its own, which claims much.
                5 => {
                    let claim: &[u8] = [
                        &[0xfe, 0xff, 0xff, 0xff, 0x0f][..],
                        &[0xfe, 0xff, 0x03],
                        &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
                    ][self.roll(3)];
                    bytes.splice(at..at, claim.iter().copied());
                }
                // A piece of another one.
                _ => {
                    let other = &seeds[self.roll(seeds.len())];
                    let (from, length) = (self.roll(other.len() + 1), self.roll(20));
                    let piece = other[from..].iter().take(length).copied().collect::<Vec<_>>();
                    bytes.splice(at..at, piece);
                }
            }
        }
        bytes
    }
}
