//! Numbers of as many bytes as they need: seven bits a byte, the lowest first.

/// The bytes that the largest number takes.
pub(super) const MAX_LEN: usize = 10;

#[inline]
pub(in crate::consumer) fn len(number: u64) -> usize {
    (9 * number.checked_ilog2().unwrap_or(0) as usize + 73) / 64
}

pub(in crate::consumer) fn write(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Takes a number from the front; `None` where there is none, or one of more than 64 bits.
pub(in crate::consumer) fn read(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..).step_by(7).take(MAX_LEN) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        let bits = u64::from(byte & 0x7f);
        if bits << shift >> shift != bits {
            return None;
        }
        number |= bits << shift;
        if *byte < 0x80 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_take_the_bytes_that_were_foretold_and_come_back() {
        let edges = (0..64).flat_map(|bit| [(1 << bit) - 1, 1 << bit, (1 << bit) + 1]).chain([u64::MAX]);
        for number in edges {
            let mut bytes = Vec::new();
            write(number, &mut bytes);
            assert_eq!((bytes.len(), read(&mut &bytes[..])), (len(number), Some(number)));
            assert_eq!(read(&mut &bytes[..bytes.len() - 1]), None);
        }
    }

    #[test]
    fn more_than_64_bits_are_no_number() {
        assert_eq!(read(&mut &[0xff; 11][..]), None);
        assert_eq!(read(&mut &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02][..]), None);
    }
}
