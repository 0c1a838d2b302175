//! Finding the records that make a batch fail. Pure: whoever calls the handler tells what came of it.
//!
//! ```text
//!   0 ───────────────── 1024   failed
//!   0 ─────── 512              failed: halved first, so that the order of the records is kept
//!             512 ───── 1024   handled
//!   0 ── 256                   ..
//! ```
//!
//! Two calls a halving at most: 20 for one bad record among 1,024.

use std::ops::Range;

/// What to do with a part of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Search {
    /// Hand these to the handler, and tell what came of it.
    Call(Range<usize>),
    /// This record failed alone.
    Found(usize),
}

/// The search in one batch that has failed as a whole.
#[derive(Debug)]
pub(crate) struct Bisection {
    /// Parts that are still to be handled; the first one is last.
    open: Vec<Range<usize>>,
}

impl Bisection {
    /// A batch of `len` records has failed, naming the bad one if it could.
    pub(crate) fn new(len: usize, named: Option<usize>) -> Self {
        let mut search = Self { open: Vec::new() };
        search.failed(0..len, named);
        search
    }

    /// What to do next; `None` when everything is handled or found.
    pub(crate) fn next(&mut self) -> Option<Search> {
        loop {
            let range = self.open.pop()?;
            match range.len() {
                0 => (),
                // Known to be the one, and marked so by an empty range below it.
                _ if range.end == usize::MAX => return Some(Search::Found(range.start)),
                _ => return Some(Search::Call(range)),
            }
        }
    }

    /// The call for these records failed, naming one of them (counted from the start of the call) if it could.
    pub(crate) fn failed(&mut self, range: Range<usize>, named: Option<usize>) {
        let found = |at: usize| at..usize::MAX;
        match named.map(|index| range.start.saturating_add(index)) {
            Some(at) if range.contains(&at) => {
                self.open.extend([at + 1..range.end, found(at), range.start..at]);
            }
            _ if range.len() == 1 => self.open.push(found(range.start)),
            _ => {
                let middle = range.start + range.len() / 2;
                self.open.extend([middle..range.end, range.start..middle]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Calls, and what was found, in a batch with these bad records.
    fn run(len: usize, bad: &BTreeSet<usize>, names: bool) -> (usize, Vec<usize>, Vec<usize>) {
        let first = |range: &Range<usize>| bad.range(range.clone()).next().map(|at| at - range.start);
        let named = |range: &Range<usize>| if names { first(range) } else { None };
        let (mut calls, mut handled, mut found) = (0, Vec::new(), Vec::new());
        let mut search = Bisection::new(len, named(&(0..len)));
        let mut order = Vec::new();
        while let Some(next) = search.next() {
            match next {
                Search::Found(at) => {
                    order.push(at);
                    found.push(at);
                }
                Search::Call(range) => {
                    calls += 1;
                    match first(&range) {
                        Some(_) => search.failed(range.clone(), named(&range)),
                        None => {
                            order.extend(range.clone());
                            handled.extend(range);
                        }
                    }
                }
            }
        }
        assert!(order.is_sorted(), "the order of the records is kept");
        (calls, handled, found)
    }

    #[test]
    fn one_bad_record_of_1024_costs_at_most_20_calls_wherever_it_stands() {
        for at in 0..1_024 {
            let (calls, handled, found) = run(1_024, &BTreeSet::from([at]), false);
            assert!(calls <= 20, "{calls} for {at}");
            assert_eq!((handled.len(), found), (1_023, vec![at]));
        }
    }

    #[test]
    fn every_record_is_handled_or_found_whichever_are_bad() {
        for len in 1..=9usize {
            for mask in 1u32..1 << len {
                let bad: BTreeSet<usize> = (0..len).filter(|at| mask & (1 << at) != 0).collect();
                for names in [false, true] {
                    let (_, handled, found) = run(len, &bad, names);
                    assert_eq!(found, bad.iter().copied().collect::<Vec<_>>());
                    assert_eq!(handled.len() + found.len(), len);
                }
            }
        }
    }

    #[test]
    fn an_error_that_names_its_record_skips_the_search() {
        for at in [0, 1, 500, 1_023] {
            let (calls, handled, found) = run(1_024, &BTreeSet::from([at]), true);
            assert!(calls <= 2, "{calls}");
            assert_eq!((handled.len(), found), (1_023, vec![at]));
        }
        let mut lies = Bisection::new(4, Some(4));
        assert_eq!(lies.next(), Some(Search::Call(0..2)), "a name outside of the call counts for nothing");
        let mut lies = Bisection::new(4, Some(usize::MAX));
        assert_eq!(lies.next(), Some(Search::Call(0..2)));
    }
}
