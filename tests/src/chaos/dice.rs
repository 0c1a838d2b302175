//! `Dice` decide what a seed leaves open, the same at every run.

use std::ops::Range;
use std::time::Duration;

/// Random choices that a seed and a name decide.
#[derive(Clone, Debug)]
pub struct Dice {
    seed: u64,
    random: fastrand::Rng,
}

impl Dice {
    /// Dice of this seed; another name gives others, so that scenarios do not roll alike.
    pub fn of(name: &str, seed: u64) -> Self {
        // FNV-1a: the same everywhere, which std's hashers do not promise.
        let hash = name
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        Self { seed, random: fastrand::Rng::with_seed(hash ^ seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)) }
    }

    /// A number from the range.
    pub fn number(&mut self, range: Range<usize>) -> usize {
        self.random.usize(range)
    }

    /// So many milliseconds.
    pub fn millis(&mut self, range: Range<u64>) -> Duration {
        Duration::from_millis(self.random.u64(range))
    }

    /// One of these: the next one for the next seed.
    ///
    /// # Panics
    ///
    /// If there are none.
    pub fn in_turn<T: Clone>(&self, of: &[T]) -> T {
        let turn = self.seed % of.len().max(1) as u64;
        of.iter()
            .zip(0..)
            .find(|(_, index)| *index == turn)
            .map_or_else(|| panic!("nothing to choose from"), |(one, _)| one.clone())
    }

    /// One of these, as often as its weight says.
    ///
    /// # Panics
    ///
    /// If there are none.
    pub fn weighted<T: Clone>(&mut self, of: &[(u32, T)]) -> T {
        let mut left = self.random.u32(0..of.iter().map(|(weight, _)| weight).sum());
        let found = of.iter().find(|(weight, _)| match left.checked_sub(*weight) {
            Some(less) => {
                left = less;
                false
            }
            None => true,
        });
        found.map(|(_, one)| one.clone()).unwrap_or_else(|| panic!("nothing to choose from"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_rolls_the_same_again_and_another_name_does_not() {
        let roll = |name: &str, seed| {
            let mut dice = Dice::of(name, seed);
            (0..20).map(|_| dice.number(0..1000)).collect::<Vec<_>>()
        };
        assert_eq!(roll("copy", 1), roll("copy", 1));
        assert_ne!(roll("copy", 1), roll("copy", 2));
        assert_ne!(roll("copy", 1), roll("zombie", 1));
    }

    #[test]
    fn weights_are_kept() {
        let mut dice = Dice::of("weights", 1);
        let rolled: Vec<_> = (0..4000).map(|_| dice.weighted(&[(3, 'a'), (0, 'b'), (1, 'c')])).collect();
        let a = rolled.iter().filter(|one| **one == 'a').count();
        assert!((2800..3200).contains(&a), "{a}");
        assert!(!rolled.contains(&'b'));
    }
}
