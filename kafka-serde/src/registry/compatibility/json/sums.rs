//! `oneOf`, `anyOf` and `allOf`.

use serde_json::Value;

use super::containment::{Containment, Place};

#[derive(Clone, Copy, PartialEq)]
enum Of {
    One,
    Any,
    All,
}

const KEYWORDS: [(&str, Of); 3] = [("oneOf", Of::One), ("anyOf", Of::Any), ("allOf", Of::All)];

/// A schema that is nothing but one of the three keywords.
struct Combined<'a> {
    of: Of,
    branches: Vec<Place<'a>>,
}

impl<'a> Combined<'a> {
    fn of(place: Place<'a>) -> Option<Self> {
        let mut found = None;
        for (keyword, value) in place.schema.as_object()? {
            let of = KEYWORDS.iter().find(|(known, _)| known == keyword).map(|(_, of)| *of);
            match (of, value.as_array()) {
                (Some(of), Some(branches)) if found.is_none() => {
                    // The same branch twice says no more than once.
                    let mut once: Vec<&Value> = Vec::new();
                    branches.iter().for_each(|branch| {
                        if !once.contains(&branch) {
                            once.push(branch);
                        }
                    });
                    found = Some(Self { of, branches: once.into_iter().map(|branch| place.at(branch)).collect() });
                }
                (Some(_), _) => return None,
                (None, _) if describes(keyword) => {}
                (None, _) => return None,
            }
        }
        found
    }
}

fn describes(keyword: &str) -> bool {
    let alone = serde_json::json!({ keyword: true });
    Place { schema: &alone, base: &alone }.allows_all()
}

/// The only branch of a sum or product that has one; else the schema as it is.
pub(super) fn alone(mut place: Place<'_>) -> Place<'_> {
    while let Some(Combined { branches, .. }) = Combined::of(place) {
        match branches.as_slice() {
            [only] => place = *only,
            _ => break,
        }
    }
    place
}

/// Compares where one of the two is nothing but a sum or product, and says whether that was all there is to compare.
/// Sums and products beside other keywords are compared, and the other keywords are left to the caller.
pub(super) fn compare<'a>(check: &mut Containment<'a>, reader: Place<'a>, writer: Place<'a>, path: &str) -> bool {
    match (Combined::of(reader), Combined::of(writer)) {
        (Some(new), Some(old)) => combined(check, &new, &old, path),
        (Some(new), None) => {
            let reads = match new.of {
                Of::All => new.branches.iter().all(|branch| check.reads(*branch, writer)),
                Of::One | Of::Any => new.branches.iter().any(|branch| check.reads(*branch, writer)),
            };
            if !reads {
                check.problem(path, "no branch allows what was allowed");
            }
        }
        (None, Some(old)) => {
            let reads = match old.of {
                // One of the limits that held together is enough for the reader.
                Of::All => old.branches.iter().any(|branch| check.reads(reader, *branch)),
                Of::One | Of::Any => old.branches.iter().all(|branch| check.reads(reader, *branch)),
            };
            if !reads {
                check.problem(path, "not all branches that were allowed are allowed");
            }
        }
        (None, None) => {
            beside(check, reader, writer, path);
            return false;
        }
    }
    true
}

/// Sums and products among other keywords.
fn beside<'a>(check: &mut Containment<'a>, reader: Place<'a>, writer: Place<'a>, path: &str) {
    for (keyword, of) in KEYWORDS {
        let branches = |place: Place<'a>| {
            let list = place.schema.get(keyword)?.as_array()?;
            Some(Combined { of, branches: list.iter().map(|branch| place.at(branch)).collect() })
        };
        match (branches(reader), branches(writer)) {
            (Some(new), Some(old)) => combined(check, &new, &old, &format!("{path}/{keyword}")),
            (Some(new), None) => {
                let reads = match of {
                    Of::All => new.branches.iter().all(|branch| check.reads(*branch, writer)),
                    Of::One | Of::Any => new.branches.iter().any(|branch| check.reads(*branch, writer)),
                };
                if !reads {
                    check.problem(path, &format!("{keyword} was added"));
                }
            }
            (None, _) => {}
        }
    }
}

fn combined<'a>(check: &mut Containment<'a>, reader: &Combined<'a>, writer: &Combined<'a>, path: &str) {
    let (new, old) = (reader.branches.len(), writer.branches.len());
    let fits = match (reader.of, writer.of) {
        (Of::One, Of::One) | (Of::Any, _) | (Of::All, Of::All) => true,
        (Of::One, _) => old == 1,
        (Of::All, _) => old == 1 && new == 1,
    };
    if !fits {
        return check.problem(path, "branches are combined another way");
    }
    match reader.of {
        Of::All if new > old => return check.problem(path, "allOf has more branches"),
        Of::One | Of::Any if new < old => return check.problem(path, "there are less branches"),
        _ => {}
    }
    let readable: Vec<Vec<usize>> = writer
        .branches
        .iter()
        .map(|old| (0..new).filter(|new| check.reads(reader.branches[*new], *old)).collect())
        .collect();
    if matched(&readable, new) < new.min(old) {
        check.problem(path, "a branch is not allowed any more");
    }
}

/// How many branches that are written find a reader of their own: a maximal matching, by augmenting paths.
fn matched(readable: &[Vec<usize>], readers: usize) -> usize {
    fn place(branch: usize, readable: &[Vec<usize>], taken: &mut [Option<usize>], tried: &mut [bool]) -> bool {
        for &reader in &readable[branch] {
            if std::mem::replace(&mut tried[reader], true) {
                continue;
            }
            if taken[reader].is_none_or(|other| place(other, readable, taken, tried)) {
                taken[reader] = Some(branch);
                return true;
            }
        }
        false
    }
    let mut taken = vec![None; readers];
    (0..readable.len()).filter(|branch| place(*branch, readable, &mut taken, &mut vec![false; readers])).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_branch_moves_over_for_another() {
        assert_eq!(matched(&[vec![0, 1], vec![0]], 2), 2);
        assert_eq!(matched(&[vec![0], vec![0]], 2), 1);
        assert_eq!(matched(&[vec![1], vec![0, 1], vec![1, 2]], 3), 3);
    }
}
