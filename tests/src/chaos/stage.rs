//! `Stage` is where a plan is played: the running members, and what happens to them and to their cluster.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::clock::Clock;
use super::evidence::{End, Life};
use super::ledger::{Entry, Ledger, NOBODY, What};
use super::order::{DOWN, Order};
use super::plan::{Event, Step};
use super::process::Process;
use crate::harness::{Cluster, Proxy, oracle};

/// How long to pause between two looks.
const PAUSE: Duration = Duration::from_millis(10);
/// How long a member may be looked at for it to begin something, before it is killed or suspended anyway.
const SIGN: Duration = Duration::from_millis(1_500);
/// How long a member may take to end in good order.
const ENDS: Duration = Duration::from_secs(30);
/// What `max.message.bytes` is for a topic that takes nothing, and by default.
const NOTHING_FITS: &str = "1";
const ALL_FIT: &str = "1048588";
/// How many members may die by themselves and be replaced; after that nobody is.
const MOST_DEATHS: usize = 30;

/// Members and their cluster.
pub(super) struct Stage<'s> {
    cluster: &'s Cluster,
    program: &'s Path,
    kind: &'s str,
    order: Order,
    ledger: &'s Ledger,
    /// How many are to run.
    wanted: usize,
    members: Vec<Member>,
    lives: Vec<Life>,
    later: Vec<(Instant, Later)>,
    events: usize,
    deaths: usize,
}

/// A running member.
struct Member {
    by: char,
    /// Its place among the members, which one that is started for it takes over.
    slot: usize,
    process: Process,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Runs,
    /// Stopped; whether its place was given away.
    Suspended {
        replaced: bool,
    },
    /// It went on, after its place was given away.
    Returned,
    /// Asked to end, by then.
    Ends(Instant),
}

/// What an event leaves to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Later {
    Start,
    Resume(char),
    StartBroker(usize),
    ContinueBroker(usize),
    Open(usize),
    NoDelay,
    /// The topic of this role takes records again.
    Writable(&'static str),
    /// What members depend on is back.
    Up,
}

impl Later {
    fn is_of_a_broker(self) -> bool {
        matches!(self, Self::StartBroker(_) | Self::ContinueBroker(_) | Self::Open(_))
    }
}

impl<'s> Stage<'s> {
    /// An empty stage; `program` is the one that knows the kind.
    pub(super) fn new(
        cluster: &'s Cluster,
        program: &'s Path,
        kind: &'s str,
        order: Order,
        ledger: &'s Ledger,
    ) -> Self {
        Self {
            cluster,
            program,
            kind,
            order,
            ledger,
            wanted: 0,
            members: Vec::new(),
            lives: Vec::new(),
            later: Vec::new(),
            events: 0,
            deaths: 0,
        }
    }

    /// Plays the steps, and what they leave to be done.
    pub(super) fn play(&mut self, steps: &[Step], clock: &Clock) {
        let start = Instant::now();
        for (index, step) in steps.iter().enumerate() {
            self.wait_while(|_| !clock.is_due(step.at));
            clock.begins(step.at, steps.get(index + 1).map(|next| next.at));
            eprintln!("  {:6.2} s  {:?}", start.elapsed().as_secs_f64(), step.event);
            self.happens(&step.event);
            self.events += 1;
        }
        self.wait_while(|stage| !stage.later.is_empty());
    }

    /// How many events have happened.
    pub(super) fn events(&self) -> usize {
        self.events
    }

    /// Whether so many members have died by themselves that nobody is started any more.
    pub(super) fn is_given_up(&self) -> bool {
        self.deaths > MOST_DEATHS
    }

    /// Looks after the members until the time.
    pub(super) fn wait_until(&mut self, time: Instant) {
        self.wait_while(|_| Instant::now() < time);
    }

    /// Asks all members to end in good order, and returns what became of each life.
    pub(super) fn end(mut self) -> Vec<Life> {
        self.wanted = 0;
        self.members.iter_mut().for_each(Member::ask_to_end);
        self.wait_while(|stage| !stage.members.is_empty());
        std::mem::take(&mut self.lives)
    }

    fn wait_while(&mut self, goes_on: impl Fn(&Self) -> bool) {
        while goes_on(self) {
            self.tend();
            while let Some(due) = self.later.iter().position(|(time, _)| *time <= Instant::now()) {
                let (_, what) = self.later.remove(due);
                self.does(what);
            }
            thread::sleep(PAUSE);
        }
    }

    fn happens(&mut self, event: &Event) {
        match *event {
            Event::Scale(members) => self.scale(members),
            Event::Kill { whom, late, away } => {
                let Some(victim) = self.victim(whom, late) else { return };
                let member = self.members.remove(victim);
                self.disrupts(member.by);
                member.process.kill();
                self.life(member.by).end = End::Killed;
                self.after(away, Later::Start);
            }
            Event::Suspend { whom, late, away, replaced } => {
                let Some(victim) = self.victim(whom, late) else { return };
                let by = self.members[victim].by;
                self.disrupts(by);
                let member = &mut self.members[victim];
                member.process.suspend();
                member.state = State::Suspended { replaced };
                self.after(away, Later::Resume(by));
                if replaced {
                    self.start();
                }
            }
            Event::KillBroker { whom, away } => {
                let whom = self.broker(whom);
                self.cluster.node(whom).kill();
                self.after(away, Later::StartBroker(whom));
            }
            Event::SuspendBroker { whom, away } => {
                let whom = self.broker(whom);
                self.cluster.node(whom).stop();
                self.after(away, Later::ContinueBroker(whom));
            }
            Event::Unreachable { whom, away } => {
                let whom = self.broker(whom);
                self.cluster.node(whom).proxy().close();
                self.after(away, Later::Open(whom));
            }
            Event::Cut => self.proxies().for_each(Proxy::cut),
            Event::Delay { by, lasts } => {
                self.proxies().for_each(|proxy| proxy.delay(by));
                self.after(lasts, Later::NoDelay);
            }
            Event::Unwritable { role, lasts } => {
                self.wait_while(|stage| stage.is_to_come(Later::Writable(role)) || stage.lacks_a_broker());
                self.tell(What::Down, role);
                self.set_limit(role, NOTHING_FITS);
                self.after(lasts, Later::Writable(role));
            }
            Event::Outage { lasts } => {
                self.wait_while(|stage| stage.is_to_come(Later::Up));
                self.tell(What::Down, "");
                File::create(self.ledger.sign(DOWN)).unwrap_or_else(|e| panic!("no sign of an outage: {e}"));
                self.after(lasts, Later::Up);
            }
        }
    }

    fn does(&mut self, what: Later) {
        match what {
            Later::Start => {
                if self.present() < self.wanted {
                    self.start();
                }
            }
            Later::Resume(by) => {
                if let Some(member) = self.members.iter_mut().find(|member| member.by == by) {
                    member.process.resume();
                    member.state = match member.state {
                        State::Suspended { replaced: true } => State::Returned,
                        _ => State::Runs,
                    };
                }
            }
            Later::StartBroker(whom) => self.cluster.node(whom).start(),
            Later::ContinueBroker(whom) => self.cluster.node(whom).cont(),
            Later::Open(whom) => self.cluster.node(whom).proxy().open(),
            Later::NoDelay => self.proxies().for_each(|proxy| proxy.delay(Duration::ZERO)),
            // Nobody is there to be told: not now.
            Later::Writable(_) if self.lacks_a_broker() => self.after(PAUSE * 10, what),
            Later::Writable(role) => {
                self.set_limit(role, ALL_FIT);
                self.tell(What::Up, role);
            }
            Later::Up => {
                std::fs::remove_file(self.ledger.sign(DOWN)).unwrap_or_else(|e| panic!("an outage without end: {e}"));
                self.tell(What::Up, "");
            }
        }
    }

    fn is_to_come(&self, what: Later) -> bool {
        self.later.iter().any(|(_, later)| *later == what)
    }

    /// Whether something that was done to a broker is still to be undone.
    fn lacks_a_broker(&self) -> bool {
        self.later.iter().any(|(_, what)| what.is_of_a_broker())
    }

    /// Writes down what is done to all.
    fn tell(&self, what: What, of: &str) {
        let entry = Entry { what, topic: of, partition: -1, offset: -1, key: "", value: "" };
        self.ledger.pen(NOBODY).write(entry);
    }

    fn set_limit(&self, role: &str, bytes: &str) {
        oracle::configure_topic(self.cluster.bootstrap(), self.order.text(role), &[("max.message.bytes", bytes)]);
    }

    fn after(&mut self, time: Duration, what: Later) {
        self.later.push((Instant::now() + time, what));
    }

    fn proxies(&self) -> impl Iterator<Item = &'s Proxy> {
        self.cluster.nodes().iter().map(|node| node.proxy())
    }

    /// The broker that something is to happen to, once nothing happens to another one. Whoever lives is disrupted by it.
    fn broker(&mut self, whom: usize) -> usize {
        self.wait_while(Self::lacks_a_broker);
        let living: Vec<char> = self.members.iter().map(|member| member.by).collect();
        living.into_iter().for_each(|by| self.disrupts(by));
        whom % self.cluster.nodes().len()
    }

    /// Notes that something is about to cut the member off from what it holds.
    fn disrupts(&mut self, by: char) {
        self.life(by).disruptions += 1;
        self.ledger.pen(by).record(What::Disrupted, -1, -1, "");
    }

    /// The member that something is to happen to, so long after it begins something. `None` where none runs.
    fn victim(&mut self, whom: usize, late: Duration) -> Option<usize> {
        let running = |stage: &Self| -> Vec<char> {
            stage.members.iter().filter(|member| member.is_on()).map(|member| member.by).collect()
        };
        // Those that are away come back.
        self.wait_while(|stage| running(stage).is_empty() && !stage.later.is_empty());
        let running = running(self);
        let by = *running.get(whom.checked_rem(running.len())?)?;
        let (since, deadline) = (self.ledger.size(), Instant::now() + SIGN);
        while self.ledger.lines_from(since).count(by, What::Begin) == 0 && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(1));
        }
        thread::sleep(late);
        self.members.iter().position(|member| member.by == by)
    }

    fn scale(&mut self, wanted: usize) {
        self.wanted = if self.is_given_up() { 0 } else { wanted };
        let wanted = self.wanted;
        while self.present() < wanted {
            self.start();
        }
        let too_many = self.present().saturating_sub(wanted);
        let on = self.members.iter_mut().rev().filter(|member| member.state == State::Runs);
        on.take(too_many).for_each(Member::ask_to_end);
    }

    /// How many members are here to stay. A place that waits to be filled again is none.
    fn present(&self) -> usize {
        let stays = |state| matches!(state, State::Runs | State::Suspended { replaced: false });
        self.members.iter().filter(|member| stays(member.state)).count()
    }

    fn start(&mut self) {
        let by = name(self.lives.len());
        let holds = |slot: &usize| self.members.iter().any(|member| member.slot == *slot && member.holds_its_slot());
        let slot = (0..).find(|slot| !holds(slot)).unwrap_or_default();
        let rivals: Vec<char> =
            self.members.iter().filter(|member| member.slot == slot).map(|member| member.by).collect();
        rivals.iter().for_each(|rival| self.life(*rival).contested = true);
        let order = self
            .order
            .clone()
            .with("by", by)
            .with("slot", slot)
            .with("ledger", self.ledger.file().display())
            .with("parent", std::process::id());
        let log = File::create(self.log(by)).unwrap_or_else(|e| panic!("no log for member {by}: {e}"));
        let mut command = Command::new(self.program);
        command.args(["worker", self.kind, &order.to_string()]).stderr(Stdio::from(log));
        self.members.push(Member { by, slot, process: Process::start(&mut command), state: State::Runs });
        self.lives.push(Life { by, disruptions: 0, contested: !rivals.is_empty(), end: End::Running });
    }

    /// What a member says on standard error.
    fn log(&self, by: char) -> PathBuf {
        self.ledger.sign(&format!("member-{by}.log"))
    }

    /// Looks for members that have ended, as they should or not, and replaces those that died.
    fn tend(&mut self) {
        let mut index = 0;
        while index < self.members.len() {
            match self.members[index].end() {
                None => index += 1,
                Some(end) => {
                    let by = self.members.remove(index).by;
                    if let End::Died(how) = end {
                        self.died(by, &how);
                    } else {
                        self.life(by).end = end;
                    }
                }
            }
        }
    }

    fn died(&mut self, by: char, how: &str) {
        let log = std::fs::read_to_string(self.log(by)).unwrap_or_default();
        let last = log.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
        eprintln!("  member {by} died: {how}: {last}");
        self.life(by).end = End::Died(format!("{how}: {last}"));
        self.deaths += 1;
        if self.is_given_up() {
            self.wanted = 0;
        } else if self.present() < self.wanted {
            // Not at once: what it died of may go on for a while.
            self.after(Duration::from_millis(300), Later::Start);
        }
    }

    fn life(&mut self, by: char) -> &mut Life {
        let life = self.lives.iter_mut().find(|life| life.by == by);
        life.unwrap_or_else(|| panic!("there was no member {by}"))
    }
}

impl Drop for Stage<'_> {
    fn drop(&mut self) {
        // A panic in between leaves the cluster whole for the next seed.
        for proxy in self.proxies() {
            proxy.delay(Duration::ZERO);
            proxy.open();
        }
        for node in self.cluster.nodes() {
            if node.pid().is_some() {
                node.cont();
            } else if !thread::panicking() {
                node.start();
            }
        }
    }
}

impl Member {
    fn is_on(&self) -> bool {
        matches!(self.state, State::Runs | State::Returned)
    }

    fn holds_its_slot(&self) -> bool {
        !matches!(self.state, State::Suspended { replaced: true } | State::Returned)
    }

    fn ask_to_end(&mut self) {
        self.process.ask_to_end();
        self.state = State::Ends(Instant::now() + ENDS);
    }

    /// How it ended, if it has.
    fn end(&mut self) -> Option<End> {
        let status = self.process.ended();
        match (self.state, status) {
            (State::Ends(_), Some(status)) if status.success() => Some(End::Stopped),
            (_, Some(status)) => Some(End::Died(status.to_string())),
            // Dropped, it is killed.
            (State::Ends(by), None) if by <= Instant::now() => Some(End::Died(format!("not ended within {ENDS:?}"))),
            (_, None) => None,
        }
    }
}

/// The name of the life that is started after so many others.
fn name(lives: usize) -> char {
    let named = ('a'..='z').chain('A'..='Z').chain('\u{c0}'..='\u{ffff}').nth(lives);
    named.unwrap_or_else(|| panic!("{lives} members were started"))
}
