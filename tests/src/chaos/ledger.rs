//! An account of what members of a group did, kept outside of them: it outlives whoever writes to it.
//!
//! All members append to one file. A line is one `write(2)` to a file opened for appending, so a kill leaves it whole or
//! leaves it out, and the lines of all processes stand in the order in which they were written: an order that clocks, and
//! a file a process, could not give.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// Who writes what is done to all.
pub const NOBODY: char = '-';

/// The account, in a file that all members append to.
#[derive(Debug)]
pub struct Ledger {
    dir: tempfile::TempDir,
}

/// Writes lines to a ledger.
#[derive(Clone, Debug)]
pub struct Pen {
    file: Arc<File>,
    by: char,
}

/// What happened to which record; empty where it is about none.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'e> {
    /// What happened.
    pub what: What,
    /// The record's topic.
    pub topic: &'e str,
    /// Its partition.
    pub partition: i32,
    /// Its offset; -1 where it is about a partition.
    pub offset: i64,
    /// Its key.
    pub key: &'e str,
    /// Its value: in chaos, the record's number within its key, or the name of a batch.
    pub value: &'e str,
}

/// What happened, to whom, when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Microseconds since the epoch.
    pub at: u64,
    /// Who wrote it: a life of a process each.
    pub by: char,
    /// What happened.
    pub what: What,
    /// The record's topic; empty in ledgers of one topic.
    pub topic: String,
    /// The record's partition.
    pub partition: i32,
    /// The record's offset; -1 where it is about a partition.
    pub offset: i64,
    /// The record's key.
    pub key: String,
    /// The record's value.
    pub value: String,
}

/// What a line tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum What {
    /// A handler was called.
    Begin,
    /// It has finished.
    Finish,
    /// A commit was confirmed.
    Commit,
    /// The listener is told of partitions that come.
    Assigned,
    /// The listener is told of partitions that go.
    Revoking,
    /// The listener has come to its end.
    Revoked,
    /// The partitions belong to somebody else by now.
    Lost,
    /// Partitions are being taken away.
    Draining,
    /// The member is about to be killed or suspended, or a broker is: told by whoever does it.
    Disrupted,
    /// The member gives up a batch of its own accord, which its value names.
    Abandoned,
    /// As many records as its offset says would be repeated by a kill, more than ever before.
    Exposed,
    /// A handler has failed.
    Failed,
    /// Something that members need is gone, from here on, which the topic names: told by whoever takes it away.
    Down,
    /// It is back.
    Up,
}

const NAMES: [(What, &str); 14] = [
    (What::Begin, "begin"),
    (What::Finish, "finish"),
    (What::Commit, "commit"),
    (What::Assigned, "assigned"),
    (What::Revoking, "revoking"),
    (What::Revoked, "revoked"),
    (What::Lost, "lost"),
    (What::Draining, "draining"),
    (What::Disrupted, "disrupted"),
    (What::Abandoned, "abandoned"),
    (What::Exposed, "exposed"),
    (What::Failed, "failed"),
    (What::Down, "down"),
    (What::Up, "up"),
];

impl What {
    fn name(self) -> &'static str {
        NAMES.iter().find(|(one, _)| *one == self).map_or("", |(_, name)| name)
    }

    fn named(name: &str) -> Option<Self> {
        NAMES.iter().find(|(_, one)| *one == name).map(|(what, _)| *what)
    }
}

impl Ledger {
    /// An empty ledger, in a folder of its own that goes with it.
    ///
    /// # Panics
    ///
    /// If there is no place for temporary files.
    pub fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("ledger-").tempdir();
        Self { dir: dir.unwrap_or_else(|e| panic!("no place for a ledger: {e}")) }
    }

    /// The file that members write to.
    pub fn file(&self) -> PathBuf {
        self.dir.path().join("ledger")
    }

    /// A file in the ledger's folder, for signs between processes.
    pub fn sign(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A pen for a member of this process.
    ///
    /// # Panics
    ///
    /// If the file cannot be opened.
    pub fn pen(&self, by: char) -> Pen {
        Pen::open(&self.file(), by)
    }

    /// What was written so far.
    ///
    /// # Panics
    ///
    /// If a line is not one that a [`Pen`] writes.
    pub fn lines(&self) -> Lines {
        self.lines_from(0)
    }

    /// How much was written so far, in bytes.
    pub fn size(&self) -> u64 {
        std::fs::metadata(self.file()).map_or(0, |file| file.len())
    }

    /// What was written since it had this size.
    ///
    /// # Panics
    ///
    /// As [`lines`](Self::lines) does.
    pub fn lines_from(&self, size: u64) -> Lines {
        let mut text = String::new();
        let read = File::open(self.file()).and_then(|mut file| {
            file.seek(SeekFrom::Start(size))?;
            file.read_to_string(&mut text)
        });
        // No file: nobody has written yet.
        read.map_or_else(|_| Lines::default(), |_| Lines::parse(&text))
    }

    /// Keeps the folder when the ledger is gone, for somebody to look at, and returns it.
    pub fn keep(self) -> PathBuf {
        self.dir.keep()
    }
}

impl Default for Ledger {
    fn default() -> Self {
        Self::new()
    }
}

impl Pen {
    /// A pen of `by` for the ledger in this file.
    ///
    /// # Panics
    ///
    /// If the file cannot be opened.
    pub fn open(file: &Path, by: char) -> Self {
        let opened = OpenOptions::new().create(true).append(true).open(file);
        let file = opened.unwrap_or_else(|e| panic!("no ledger {}: {e}", file.display()));
        Self { file: Arc::new(file), by }
    }

    /// Whose pen it is.
    pub fn by(&self) -> char {
        self.by
    }

    /// Writes a line.
    ///
    /// # Panics
    ///
    /// If it cannot be written, and if it holds a tab or a new line.
    pub fn write(&self, entry: Entry<'_>) {
        let Entry { what, topic, partition, offset, key, value } = entry;
        assert!(![topic, key, value].iter().any(|text| text.contains(['\t', '\n'])), "no text for a ledger: {entry:?}");
        let at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros());
        let line = format!("{at}\t{}\t{}\t{topic}\t{partition}\t{offset}\t{key}\t{value}\n", self.by, what.name());
        // One write for the whole line: `write_all` goes on only after a short one, which a file gives when the disk is full.
        (&*self.file).write_all(line.as_bytes()).unwrap_or_else(|e| panic!("the ledger cannot be written: {e}"));
    }

    /// Writes what happened to a record, in a ledger of one topic.
    ///
    /// # Panics
    ///
    /// As [`write`](Self::write).
    pub fn record(&self, what: What, partition: i32, offset: i64, key: &str) {
        self.write(Entry { what, topic: "", partition, offset, key, value: "" });
    }

    /// Writes what happened to a partition, in a ledger of one topic.
    ///
    /// # Panics
    ///
    /// As [`write`](Self::write).
    pub fn partition(&self, what: What, partition: i32) {
        self.record(what, partition, -1, "");
    }
}

impl Line {
    fn parse(line: &str) -> Self {
        Self::try_parse(line).unwrap_or_else(|| panic!("not a line of a ledger: {line}"))
    }

    fn try_parse(line: &str) -> Option<Self> {
        let words: Vec<&str> = line.split('\t').collect();
        let &[at, by, what, topic, partition, offset, key, value] = words.as_slice() else { return None };
        Some(Self {
            at: at.parse().ok()?,
            by: by.chars().next()?,
            what: What::named(what)?,
            topic: topic.to_owned(),
            partition: partition.parse().ok()?,
            offset: offset.parse().ok()?,
            key: key.to_owned(),
            value: value.to_owned(),
        })
    }

    /// Whether it tells this of that member.
    pub fn is(&self, by: char, what: What) -> bool {
        self.by == by && self.what == what
    }

    /// Which record it is about.
    pub fn place(&self) -> Place {
        (self.partition, self.offset)
    }
}

/// Lines of a ledger, in the order in which they were written.
#[derive(Clone, Debug, Default)]
pub struct Lines(pub Vec<Line>);

/// By partition and offset.
pub type Place = (i32, i64);

impl Lines {
    fn parse(text: &str) -> Self {
        // The last line may be on its way.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        Self(whole.lines().map(Line::parse).collect())
    }

    /// Those that tell this.
    pub fn of(&self, what: What) -> impl Iterator<Item = &Line> {
        self.0.iter().filter(move |line| line.what == what)
    }

    /// How many tell this of that member.
    pub fn count(&self, by: char, what: What) -> usize {
        self.0.iter().filter(|line| line.is(by, what)).count()
    }

    /// Records that somebody has finished.
    pub fn finished(&self) -> BTreeSet<Place> {
        self.of(What::Finish).map(Line::place).collect()
    }

    /// By partition, the first offset that nobody has finished.
    pub fn unfinished(&self, partitions: i32) -> BTreeMap<i32, i64> {
        let finished = self.finished();
        let first = |partition| (0..).find(|offset| !finished.contains(&(partition, *offset))).unwrap_or_default();
        (0..partitions).map(|partition| (partition, first(partition))).collect()
    }

    /// Records that were written and that nobody has finished, where `written` has the end of each partition.
    pub fn lost(&self, written: &BTreeMap<i32, i64>) -> Vec<Place> {
        let finished = self.finished();
        let all = written.iter().flat_map(|(partition, end)| (0..*end).map(move |offset| (*partition, offset)));
        all.filter(|place| !finished.contains(place)).collect()
    }

    /// Records that were begun more than once.
    pub fn begun_twice(&self) -> Vec<Place> {
        let mut times: BTreeMap<Place, usize> = BTreeMap::new();
        self.of(What::Begin).for_each(|line| *times.entry(line.place()).or_default() += 1);
        times.into_iter().filter(|(_, times)| *times > 1).map(|(place, _)| place).collect()
    }

    /// Who began each record that was begun more than once, one after the other: all neighbours.
    pub fn repeats(&self) -> Vec<(Place, char, char)> {
        let mut last: BTreeMap<Place, char> = BTreeMap::new();
        let again = |line: &Line| last.insert(line.place(), line.by).map(|before| (line.place(), before, line.by));
        self.of(What::Begin).filter_map(again).collect()
    }

    /// Records that were begun for the first time before an earlier one of their key had been finished once.
    pub fn out_of_order(&self) -> Vec<Place> {
        let (mut begun, mut finished) = (BTreeSet::new(), BTreeSet::new());
        // By key, the last record that was begun: those before it were in order, or are told of already.
        let mut last: BTreeMap<(i32, &str), i64> = BTreeMap::new();
        let mut wrong = Vec::new();
        for line in self.0.iter().filter(|line| !line.key.is_empty()) {
            match line.what {
                What::Begin if begun.insert(line.place()) => {
                    let before = last.insert((line.partition, &line.key), line.offset);
                    let in_order = |before| before < line.offset && finished.contains(&(line.partition, before));
                    if !before.is_none_or(in_order) {
                        wrong.push(line.place());
                    }
                }
                What::Finish => drop(finished.insert(line.place())),
                _ => (),
            }
        }
        wrong
    }

    /// Partitions that somebody was given while another one still had them: until `Revoked` or `Lost` is said.
    pub fn owned_twice(&self) -> Vec<(i32, char, char)> {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn written(lines: &[(char, What, i64, &str)]) -> Lines {
        let ledger = Ledger::new();
        lines.iter().for_each(|(by, what, offset, key)| ledger.pen(*by).record(*what, 0, *offset, key));
        ledger.lines()
    }

    #[test]
    fn what_is_written_is_read_back_and_half_a_line_is_not() {
        let ledger = Ledger::new();
        let entry =
            Entry { what: What::Begin, topic: "orders", partition: 3, offset: 17, key: "a key", value: "of value" };
        ledger.pen('a').write(entry);
        let mut file = OpenOptions::new().append(true).open(ledger.file()).unwrap_or_else(|e| panic!("{e}"));
        file.write_all(b"1\ta\tbegin\torders").unwrap_or_else(|e| panic!("{e}"));
        let lines = ledger.lines().0;
        assert_eq!(lines.len(), 1);
        let line = &lines[0];
        assert_eq!((line.by, line.what, line.place()), ('a', What::Begin, (3, 17)));
        assert_eq!((&*line.topic, &*line.key, &*line.value), ("orders", "a key", "of value"));
    }

    #[test]
    fn what_nobody_finished_is_lost() {
        let lines = written(&[('a', What::Begin, 0, "k"), ('a', What::Finish, 0, "k"), ('a', What::Begin, 1, "k")]);
        assert_eq!(lines.lost(&[(0, 3)].into()), [(0, 1), (0, 2)]);
    }

    #[test]
    fn a_key_is_in_order_when_each_record_waits_for_the_one_before() {
        let first = [('a', What::Begin, 0, "k"), ('a', What::Begin, 1, "other"), ('a', What::Finish, 0, "k")];
        let in_order = [&first[..], &[('a', What::Begin, 2, "k")]].concat();
        assert_eq!(written(&in_order).out_of_order(), []);
        // A takeover begins it again, and goes on: still in order.
        let taken_over = [&in_order[..], &[('b', What::Begin, 0, "k"), ('b', What::Begin, 2, "k")]].concat();
        assert_eq!(written(&taken_over).out_of_order(), []);
        assert_eq!(written(&taken_over).repeats(), [((0, 0), 'a', 'b'), ((0, 2), 'a', 'b')]);
        // The one before has begun only.
        let early = [('a', What::Begin, 0, "k"), ('a', What::Begin, 2, "k")];
        assert_eq!(written(&early).out_of_order(), [(0, 2)]);
        // The later one went first.
        let late = [('a', What::Begin, 2, "k"), ('a', What::Finish, 2, "k"), ('a', What::Begin, 0, "k")];
        assert_eq!(written(&late).out_of_order(), [(0, 0)]);
    }
}
