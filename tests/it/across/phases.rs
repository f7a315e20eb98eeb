//! A rollout of three hosts that is held where something is to happen to it: once in each phase.

use std::fs;

use super::fleet::{Fleet, Gate};
use crate::sandbox::{Call, Running};

/// Where it is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The nodes fetch.
    Prepare,
    /// The first host is in its turn.
    Canary,
    /// It is live, and is watched.
    Bake,
    /// The second one is in its turn.
    Batch,
    /// The second one failed, and the first one goes back.
    WindUp,
}

pub struct Held {
    pub phase: Phase,
    pub fleet: Fleet,
    gate: Gate,
}

impl Held {
    /// All serve v1, and v2 is there to be deployed.
    pub fn new(mut fleet: Fleet, phase: Phase) -> Held {
        let gate = fleet.gate("phase");
        let wait = gate.script();
        let back = format!("if [ $FAILCAKE_ROLLBACK = 1 ]; then {wait}; fi");
        let post = [("post-deploy", back.as_str())];
        fleet.release("v1", if phase == Phase::WindUp { &post } else { &[] });
        fleet.start();
        fleet.deploy("v1", "web*", &["--batch", "2"]).run().success();
        let mut turn = "echo turn >>\"$FAILCAKE_SHARED/turns\"\n".to_owned();
        match phase {
            Phase::Canary => turn += &format!("if [ $FAILCAKE_HOST = web01 ]; then {wait}; fi"),
            Phase::Batch => turn += &format!("if [ $FAILCAKE_HOST = web02 ]; then {wait}; fi"),
            Phase::WindUp => turn += "[ $FAILCAKE_HOST != web02 ]",
            Phase::Bake => {}
            Phase::Prepare => {
                // What a git server runs for each fetch.
                let hook = fleet.world.write("pack", format!("#!/bin/sh\nFAILCAKE_HOST=web01\n{wait}\nexec \"$@\"\n"));
                fs::set_permissions(&hook, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
                let config =
                    fleet.world.read("gitconfig") + &format!("[uploadpack]\n\tpackObjectsHook = {}\n", hook.display());
                fleet.world.write("gitconfig", config);
            }
        }
        fleet.release("v2", &[("pre-deploy", &turn)]);
        Held { phase, fleet, gate }
    }

    fn call(&self) -> Call<'_> {
        let more: &[&str] = match self.phase {
            Phase::Bake => &["--bake", "4s"],
            Phase::WindUp => &["--on-failure", "rollback"],
            _ => &[],
        };
        self.fleet.deploy("v2", "web*", &[&["--batch", "1"], more].concat())
    }

    /// Starts it, and waits until it is held.
    pub fn begin(&self) -> Running {
        let mut operator = self.call().start();
        match self.phase {
            Phase::Bake => drop(operator.stderr_line("the canary is watched for")),
            Phase::Batch => self.gate.wait_for("web02"),
            Phase::Prepare | Phase::Canary | Phase::WindUp => self.gate.wait_for("web01"),
        }
        operator
    }

    /// Waits until that host is held.
    pub fn wait_for(&self, node: &str) {
        self.gate.wait_for(node);
    }

    /// Lets it go on.
    pub fn go_on(&self) {
        self.gate.open();
    }

    /// The exit status that it is to have at its end.
    pub fn status(&self) -> i32 {
        i32::from(self.phase == Phase::WindUp)
    }

    /// Every host came where the plan says, and had its turn once.
    pub fn assert_done(&self) {
        let turns = |node: &str| {
            fs::read_to_string(self.fleet.world.path(format!("{node}/site/shared/turns"))).unwrap_or_default()
        };
        let turns = ["web01", "web02", "web03"].map(|node| turns(node).lines().count());
        if self.phase == Phase::WindUp {
            assert_eq!((self.fleet.all_serve(), turns), (vec!["v1".to_owned(); 3], [1, 1, 0]), "{:?}", self.phase);
        } else {
            assert_eq!((self.fleet.all_serve(), turns), (vec!["v2".to_owned(); 3], [1, 1, 1]), "{:?}", self.phase);
        }
        // And nobody has the site any more.
        self.fleet.release("v3", &[]);
        self.fleet.deploy("v3", "web*", &["--batch", "2"]).run().success();
        assert_eq!(self.fleet.all_serve(), ["v3"; 3]);
    }
}
