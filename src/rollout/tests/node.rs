//! A host as it should be, with whatever may befall it.

use std::time::Duration;

use super::super::{Answer, Step};
use super::network::Random;

/// What is true on the host, whoever knows of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Truth {
    Fresh,
    Preparing,
    Prepared,
    Switching,
    Live,
    Failed(Step),
    Refused,
    Dropped,
    RollingBack,
    RolledBack,
    RollbackFailed,
}

/// When a host dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Death {
    Always,
    AtPrepare,
    WhilePreparing,
    Prepared,
    AtSwitch,
    WhileSwitching,
    Live,
    RollingBack,
}

/// What is going to happen to it.
#[derive(Debug, Clone)]
pub struct Fate {
    pub prepare: Duration,
    pub switch: Duration,
    pub back: Duration,
    pub refuses: bool,
    pub fails_to_prepare: bool,
    pub fails_in_turn: bool,
    /// It fails after the switch, and the new release serves on.
    pub keeps: bool,
    pub fails_to_go_back: bool,
    /// So long after it went live it says that it failed all the same.
    pub falls_ill: Option<Duration>,
    pub dies: Option<Death>,
    pub returns_after: Option<Duration>,
    /// Not there before.
    pub arrives: Duration,
    /// Says nothing while it works.
    pub mute: bool,
    /// Never hears that it is to switch.
    pub deaf: bool,
    /// Says at times what is not so.
    pub lies: bool,
}

impl Fate {
    /// All goes well, in more or less time.
    pub fn good(random: &mut Random) -> Fate {
        Fate {
            prepare: random.time(20_000),
            switch: random.time(30_000),
            back: random.time(10_000),
            refuses: false,
            fails_to_prepare: false,
            fails_in_turn: false,
            keeps: false,
            fails_to_go_back: false,
            falls_ill: None,
            dies: None,
            returns_after: None,
            arrives: Duration::ZERO,
            mute: false,
            deaf: false,
            lies: false,
        }
    }

    /// Anything may go wrong, with a probability of `share` for most hosts' fates to be bad.
    pub fn any(random: &mut Random, share: f64, liars: bool) -> Fate {
        let mut fate = Fate::good(random);
        if !random.is(share) {
            return fate;
        }
        match random.below(if liars { 13 } else { 12 }) {
            0 => fate.refuses = true,
            1 => fate.fails_to_prepare = true,
            2 | 3 => (fate.fails_in_turn, fate.keeps) = (true, random.is(0.5)),
            4 => fate.falls_ill = Some(random.time(200_000)),
            5 => fate.arrives = random.time(400_000),
            6 => fate.switch = Duration::from_secs(400),
            7 => (fate.mute, fate.switch) = (true, Duration::from_secs(20 + random.below(120))),
            8 => fate.prepare = Duration::from_secs(400),
            9 | 10 => {
                let deaths = [
                    Death::Always,
                    Death::AtPrepare,
                    Death::WhilePreparing,
                    Death::Prepared,
                    Death::AtSwitch,
                    Death::WhileSwitching,
                    Death::Live,
                    Death::RollingBack,
                ];
                fate.dies = Some(deaths[random.below(8) as usize]);
                fate.returns_after = random.is(0.5).then(|| random.time(300_000));
            }
            11 => fate.deaf = true,
            _ => fate.lies = true,
        }
        fate.fails_to_go_back = random.is(0.2);
        fate
    }
}

/// What a host does next by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alarm {
    /// The work is done.
    Done,
    /// Still at it.
    Tick,
    FallsIll,
    Returns,
}

pub struct Node {
    pub truth: Truth,
    pub fate: Fate,
    pub up: bool,
    /// Alarms of earlier work have earlier numbers.
    pub work: u32,
    /// To go back as soon as the turn is over.
    goes_back: bool,
    /// The new release serves, or did.
    pub was_live: bool,
    over: bool,
}

/// What comes of something that happened to a host.
#[derive(Default)]
pub struct Deeds {
    pub says: Vec<Answer>,
    pub alarms: Vec<(Duration, Alarm)>,
}

const TICK: Duration = Duration::from_secs(10);

impl Node {
    pub fn new(fate: Fate) -> Node {
        let up = fate.dies != Some(Death::Always) && fate.arrives.is_zero();
        Node { truth: Truth::Fresh, fate, up, work: 0, goes_back: false, was_live: false, over: false }
    }

    pub fn hear(&mut self, step: Step, random: &mut Random) -> Deeds {
        let mut deeds = Deeds::default();
        if !self.up || (self.fate.deaf && step == Step::Switch) {
            return deeds;
        }
        match (step, self.truth) {
            (Step::Prepare, Truth::Fresh) if self.over => self.truth = Truth::Dropped,
            (Step::Prepare, Truth::Fresh) if self.fate.refuses => self.truth = Truth::Refused,
            (Step::Prepare, Truth::Fresh) => {
                self.begin(Truth::Preparing, self.fate.prepare, &mut deeds);
                self.die_at(Death::AtPrepare, &mut deeds);
                if self.up {
                    deeds.says.push(Answer::Accepted { step });
                }
                return self.die_while(Death::WhilePreparing, deeds);
            }
            (Step::Switch, Truth::Prepared) => {
                self.begin(Truth::Switching, self.fate.switch, &mut deeds);
                self.die_at(Death::AtSwitch, &mut deeds);
                if self.up {
                    deeds.says.push(Answer::Accepted { step });
                }
                return self.die_while(Death::WhileSwitching, deeds);
            }
            (Step::Abort | Step::Rollback | Step::Verdict, Truth::Fresh | Truth::Preparing | Truth::Prepared) => {
                self.work += 1;
                self.truth = Truth::Dropped;
            }
            (Step::Rollback, Truth::Switching) => self.goes_back = true,
            (Step::Rollback, Truth::Live) => self.go_back(&mut deeds),
            (Step::Rollback, Truth::Failed(_)) if self.was_live => self.go_back(&mut deeds),
            _ => {}
        }
        self.over |= step == Step::Verdict;
        if self.up {
            deeds.says.push(self.report(random));
        }
        deeds
    }

    pub fn alarm(&mut self, alarm: Alarm, work: u32, random: &mut Random) -> Deeds {
        let mut deeds = Deeds::default();
        match alarm {
            Alarm::Returns => {
                self.up = true;
                self.fate.dies = None;
                self.work += 1;
                // What a start finds: a stage that is not whole, a deploy that was cut and is repaired, or nothing new.
                self.truth = match self.truth {
                    Truth::Preparing => Truth::Fresh,
                    Truth::Switching => Truth::Failed(Step::Switch),
                    Truth::RollingBack => Truth::Live,
                    other => other,
                };
            }
            Alarm::FallsIll if self.up && self.truth == Truth::Live => {
                self.truth = Truth::Failed(Step::Switch);
                deeds.says.push(self.report(random));
            }
            Alarm::Tick if self.up && work == self.work => {
                if !self.fate.mute {
                    deeds.says.push(self.report(random));
                }
                deeds.alarms.push((TICK, Alarm::Tick));
            }
            Alarm::Done if self.up && work == self.work => self.done(random, &mut deeds),
            _ => {}
        }
        deeds
    }

    fn done(&mut self, random: &mut Random, deeds: &mut Deeds) {
        self.work += 1;
        match self.truth {
            Truth::Preparing if self.fate.fails_to_prepare => self.truth = Truth::Failed(Step::Prepare),
            Truth::Preparing => {
                self.truth = Truth::Prepared;
                deeds.says.push(self.report(random));
                return self.die_at(Death::Prepared, deeds);
            }
            Truth::Switching if self.fate.fails_in_turn => {
                self.truth = Truth::Failed(Step::Switch);
                self.was_live = self.fate.keeps;
                deeds.says.push(self.report(random));
                if self.goes_back && self.was_live {
                    self.go_back(deeds);
                }
                return;
            }
            Truth::Switching => {
                self.truth = Truth::Live;
                self.was_live = true;
                deeds.alarms.extend(self.fate.falls_ill.map(|after| (after, Alarm::FallsIll)));
                deeds.says.push(self.report(random));
                self.die_at(Death::Live, deeds);
                if self.up && self.goes_back {
                    self.go_back(deeds);
                }
                return;
            }
            Truth::RollingBack if self.fate.fails_to_go_back => self.truth = Truth::RollbackFailed,
            Truth::RollingBack => self.truth = Truth::RolledBack,
            _ => {}
        }
        deeds.says.push(self.report(random));
    }

    fn begin(&mut self, work: Truth, time: Duration, deeds: &mut Deeds) {
        self.truth = work;
        self.work += 1;
        deeds.alarms.extend([(time, Alarm::Done), (TICK, Alarm::Tick)]);
    }

    fn go_back(&mut self, deeds: &mut Deeds) {
        self.begin(Truth::RollingBack, self.fate.back, deeds);
        self.die_at(Death::RollingBack, deeds);
    }

    fn die_at(&mut self, moment: Death, deeds: &mut Deeds) {
        if self.fate.dies == Some(moment) {
            self.up = false;
            deeds.alarms.extend(self.fate.returns_after.map(|after| (after, Alarm::Returns)));
        }
    }

    /// Says what it has to say, and is gone.
    fn die_while(&mut self, moment: Death, mut deeds: Deeds) -> Deeds {
        if self.up {
            self.die_at(moment, &mut deeds);
        }
        deeds
    }

    fn report(&self, random: &mut Random) -> Answer {
        if self.fate.lies && random.is(0.3) {
            return any_answer(random);
        }
        match self.truth {
            Truth::Fresh | Truth::Preparing => Answer::Progress { step: Step::Prepare },
            Truth::Prepared => Answer::Prepared,
            Truth::Switching => Answer::Progress { step: Step::Switch },
            Truth::Live => Answer::Live { summary: "20240101-120000".to_owned() },
            Truth::Failed(during) => {
                Answer::Failed { during, switched: self.was_live, why: "a script ended with 3".to_owned() }
            }
            Truth::Refused => Answer::Refused { why: "not allowed here".to_owned() },
            Truth::Dropped => Answer::Aborted,
            Truth::RollingBack => Answer::Progress { step: Step::Rollback },
            Truth::RolledBack => Answer::RolledBack,
            Truth::RollbackFailed => Answer::RollbackFailed { why: "the old release is gone".to_owned() },
        }
    }
}

pub fn any_answer(random: &mut Random) -> Answer {
    let step = [Step::Prepare, Step::Switch, Step::Abort, Step::Rollback, Step::Verdict][random.below(5) as usize];
    match random.below(10) {
        0 => Answer::Accepted { step },
        9 => Answer::TakenOver { why: "so it says".to_owned() },
        1 => Answer::Progress { step },
        2 => Answer::Prepared,
        3 => Answer::Refused { why: "a whim".to_owned() },
        4 => Answer::Live { summary: String::new() },
        5 => Answer::Failed { during: step, switched: random.is(0.5), why: "so it says".to_owned() },
        6 => Answer::Aborted,
        7 => Answer::RolledBack,
        _ => Answer::RollbackFailed { why: "so it says".to_owned() },
    }
}
