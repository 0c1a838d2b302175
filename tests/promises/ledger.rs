//! An account of what members of a group did, kept outside of them: it outlives whoever writes to it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// The account, in a file that all members append to.
pub(crate) struct Ledger {
    dir: tempfile::TempDir,
}

/// Writes lines. A line is one write, so a kill leaves it whole or leaves it out.
#[derive(Clone)]
pub(crate) struct Pen {
    file: Arc<File>,
    by: char,
}

/// What happened, to whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// Microseconds since the epoch.
    pub(crate) at: u64,
    pub(crate) by: char,
    pub(crate) what: What,
    pub(crate) partition: i32,
    /// -1 where it is about a partition.
    pub(crate) offset: i64,
    pub(crate) key: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// A handler was called.
    Begin,
    /// It has finished.
    Finish,
    /// A commit was confirmed.
    Commit,
    /// The listener is being told, or has come to its end.
    Assigned,
    Revoking,
    Revoked,
    Lost,
    /// Partitions are being taken away.
    Draining,
}

const NAMES: [(What, &str); 8] = [
    (What::Begin, "begin"),
    (What::Finish, "finish"),
    (What::Commit, "commit"),
    (What::Assigned, "assigned"),
    (What::Revoking, "revoking"),
    (What::Revoked, "revoked"),
    (What::Lost, "lost"),
    (What::Draining, "draining"),
];

impl Ledger {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.dir.path().join("ledger")
    }

    /// A file in the ledger's folder, for signs between processes.
    pub(crate) fn sign(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn pen(&self, by: char) -> Pen {
        Pen::open(&self.file(), by)
    }

    /// What was written so far.
    pub(crate) fn lines(&self) -> Lines {
        let text = std::fs::read_to_string(self.file()).unwrap_or_default();
        // The last line may be on its way.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        Lines(whole.lines().map(Line::parse).collect())
    }
}

impl Pen {
    pub(crate) fn open(file: &Path, by: char) -> Self {
        Self { file: Arc::new(OpenOptions::new().create(true).append(true).open(file).unwrap()), by }
    }

    pub(crate) fn by(&self) -> char {
        self.by
    }

    pub(crate) fn record(&self, what: What, partition: i32, offset: i64, key: &str) {
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros();
        let name = NAMES.iter().find(|(one, _)| *one == what).unwrap().1;
        let line = format!("{at} {} {name} {partition} {offset} {key}.\n", self.by);
        (&*self.file).write_all(line.as_bytes()).unwrap();
    }

    pub(crate) fn partition(&self, what: What, partition: i32) {
        self.record(what, partition, -1, "");
    }
}

impl Line {
    fn parse(line: &str) -> Self {
        let words: Vec<&str> = line.split(' ').collect();
        let &[at, by, what, partition, offset, key] = words.as_slice() else { panic!("{line}") };
        let what = NAMES.iter().find(|(_, name)| *name == what).unwrap_or_else(|| panic!("{line}")).0;
        Self {
            at: at.parse().unwrap(),
            by: by.chars().next().unwrap(),
            what,
            partition: partition.parse().unwrap(),
            offset: offset.parse().unwrap(),
            key: key.trim_end_matches('.').to_owned(),
        }
    }

    pub(crate) fn is(&self, by: char, what: What) -> bool {
        self.by == by && self.what == what
    }
}

/// Lines of a ledger, in the order in which they were written.
pub(crate) struct Lines(pub(crate) Vec<Line>);

/// By partition and offset.
pub(crate) type Place = (i32, i64);

impl Lines {
    pub(crate) fn of(&self, what: What) -> impl Iterator<Item = &Line> {
        self.0.iter().filter(move |line| line.what == what)
    }

    pub(crate) fn count(&self, by: char, what: What) -> usize {
        self.0.iter().filter(|line| line.is(by, what)).count()
    }

    pub(crate) fn finished(&self) -> BTreeSet<Place> {
        self.of(What::Finish).map(|line| (line.partition, line.offset)).collect()
    }

    /// By partition, the first offset that nobody has finished.
    pub(crate) fn unfinished(&self, partitions: i32) -> BTreeMap<i32, i64> {
        let finished = self.finished();
        let first = |partition| (0..).find(|offset| !finished.contains(&(partition, *offset))).unwrap_or_default();
        (0..partitions).map(|partition| (partition, first(partition))).collect()
    }

    /// Records that were written and that nobody has finished.
    pub(crate) fn lost(&self, written: &BTreeMap<i32, i64>) -> Vec<Place> {
        let finished = self.finished();
        let all = written.iter().flat_map(|(partition, end)| (0..*end).map(move |offset| (*partition, offset)));
        all.filter(|place| !finished.contains(place)).collect()
    }

    /// Records that were begun more than once.
    pub(crate) fn begun_twice(&self) -> Vec<Place> {
        let mut times: BTreeMap<Place, usize> = BTreeMap::new();
        self.of(What::Begin).for_each(|line| *times.entry((line.partition, line.offset)).or_default() += 1);
        times.into_iter().filter(|(_, times)| *times > 1).map(|(place, _)| place).collect()
    }

    #[allow(dead_code, reason = "the proof with kills is not written yet")]
    /// Records that were begun for the first time before an earlier one of their key had been finished once.
    pub(crate) fn out_of_order(&self) -> Vec<Place> {
        let (mut begun, mut finished) = (BTreeSet::new(), BTreeSet::new());
        let mut of_key: BTreeMap<(i32, &str), Vec<i64>> = BTreeMap::new();
        let mut wrong = Vec::new();
        for line in self.0.iter().filter(|line| !line.key.is_empty()) {
            let place = (line.partition, line.offset);
            match line.what {
                What::Begin if begun.insert(place) => {
                    let before = of_key.entry((line.partition, &line.key)).or_default();
                    let in_order = |other: &i64| *other < line.offset && finished.contains(&(line.partition, *other));
                    if !before.iter().all(in_order) {
                        wrong.push(place);
                    }
                    before.push(line.offset);
                }
                What::Finish => drop(finished.insert(place)),
                _ => (),
            }
        }
        wrong
    }

    /// Partitions that somebody was given while another one still had them: until `Revoked` or `Lost` is said.
    pub(crate) fn owned_twice(&self) -> Vec<(i32, char, char)> {
        let mut owners: BTreeMap<i32, BTreeSet<char>> = BTreeMap::new();
        let mut wrong = Vec::new();
        for line in &self.0 {
            let owners = owners.entry(line.partition).or_default();
            match line.what {
                What::Assigned => {
                    wrong.extend(owners.iter().filter(|by| **by != line.by).map(|by| (line.partition, *by, line.by)));
                    owners.insert(line.by);
                }
                What::Revoked | What::Lost => drop(owners.remove(&line.by)),
                _ => (),
            }
        }
        wrong
    }
}
