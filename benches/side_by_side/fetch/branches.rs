//! Mode `branches`, as Puppet's environments, beside Debian's r10k: nothing there yet, nothing changed, one branch changed.
//!
//! r10k deploys environments without modules here, which is the least that it can do.

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::measure::{Contender, Sample, once, race};
use crate::place::{FAILCAKE, Place};

const BRANCHES: usize = 100;
const FILES: usize = 200;
/// r10k takes a quarter of a minute each.
const ROUNDS: usize = 3;
/// Of one changed branch.
const QUICK_ROUNDS: usize = 9;

/// The control repository, and somebody's work tree to push from.
struct Control<'a> {
    place: &'a Place,
    work: PathBuf,
    bare: PathBuf,
    /// Changes made so far.
    changes: Cell<usize>,
}

pub fn run(place: &Place) {
    let control = Control::new(place);
    let new = |name: &str| {
        // Where nothing was deleted before, and with nothing of others' to be paid for.
        let folder = place.path(name);
        fs::create_dir(&folder).expect("a folder");
        nix::unistd::sync();
        folder
    };
    let (mut ours, mut theirs) = (0, 0);
    let cold = vec![
        Contender::new("failcake fetch, with its clone", || {
            ours += 1;
            let folder = new(&format!("branches-ours-{ours}"));
            control.checked(&folder, control.failcake(&folder))
        }),
        Contender::new("r10k deploy environment, with its cache", || {
            theirs += 1;
            let folder = new(&format!("branches-r10k-{theirs}"));
            control.checked(&folder, control.r10k(&folder, &[]))
        }),
    ];
    let title = |what: &str| format!("{BRANCHES} branches of {FILES} files, {what}");
    race(&title("nothing there yet"), ROUNDS, cold);
    let [ours, theirs] = ["ours", "r10k"].map(|who| place.path(&format!("branches-{who}-1")));
    let unchanged = vec![
        Contender::new("failcake fetch", || control.failcake(&ours)),
        Contender::new("r10k deploy environment", || control.r10k(&theirs, &[])),
    ];
    race(&title("nothing changed"), ROUNDS, unchanged);
    let one = vec![
        Contender::new("failcake fetch", || {
            let text = control.change();
            let sample = control.failcake(&ours);
            assert_eq!(control.read(&ours), text, "it is published");
            sample
        }),
        Contender::new("r10k deploy environment BRANCH", || {
            let text = control.change();
            let sample = control.r10k(&theirs, &["b7"]);
            assert_eq!(control.read(&theirs), text, "it is deployed");
            sample
        }),
    ];
    race(&title("one changed"), QUICK_ROUNDS, one);
}

impl<'a> Control<'a> {
    fn new(place: &'a Place) -> Control<'a> {
        let (work, bare) = (place.path("branches-work"), place.path("branches.git"));
        fs::create_dir(&work).expect("a work tree");
        place.git(&work, &["init", "--quiet", "--initial-branch=b0"]);
        for number in 0..FILES {
            let folder = work.join(format!("modules/m{}/manifests", number % 20));
            fs::create_dir_all(&folder).expect("a folder");
            let text = format!("# {number}\n{}", "class some::thing { }\n".repeat(number % 50));
            fs::write(folder.join(format!("f{number}.pp")), text).expect("a file");
        }
        let control = Control { place, work, bare, changes: Cell::new(0) };
        for branch in 0..BRANCHES {
            if branch > 0 {
                place.git(&control.work, &["checkout", "--quiet", "-b", &format!("b{branch}")]);
            }
            fs::write(control.file(&control.work), format!("branch {branch}\n")).expect("a file");
            place.git(&control.work, &["add", "."]);
            place.git(&control.work, &["commit", "--quiet", "--message", "a branch"]);
        }
        let bare = control.bare.to_str().expect("UTF-8");
        place.git(&control.work, &["clone", "--quiet", "--bare", ".", bare]);
        place.git(&control.work, &["checkout", "--quiet", "b7"]);
        control
    }

    /// The file that each branch has its own way.
    fn file(&self, tree: &Path) -> PathBuf {
        tree.join("modules/m0/manifests/f0.pp")
    }

    fn read(&self, folder: &Path) -> String {
        fs::read_to_string(self.file(&folder.join("environments/b7"))).expect("an environment")
    }

    /// Pushes a change of one file in one branch; what is in it.
    fn change(&self) -> String {
        self.changes.set(self.changes.get() + 1);
        let text = format!("change {}\n", self.changes.get());
        fs::write(self.file(&self.work), &text).expect("a file");
        self.place.git(&self.work, &["commit", "--quiet", "--all", "--message", "a change"]);
        self.place.git(&self.work, &["push", "--quiet", self.bare.to_str().expect("UTF-8"), "b7"]);
        text
    }

    fn failcake(&self, folder: &Path) -> Sample {
        let at = folder.display();
        let (bare, config) = (self.bare.display(), folder.join("failcake.yaml"));
        let text = format!(
            "broker: stomp://localhost:1\nspool: {at}/spool\nrepos:\n  puppet: {{ path: {at}/clone.git, url: 'file://{bare}', \
             mode: branches, target: {at}/environments, names: puppet }}\n"
        );
        fs::write(&config, text).expect("a config");
        once(self.place.command(FAILCAKE).arg("-c").arg(config).arg("fetch"), b"")
    }

    fn r10k(&self, folder: &Path, words: &[&str]) -> Sample {
        let at = folder.display();
        let (bare, config) = (self.bare.display(), folder.join("r10k.yaml"));
        let text = format!(
            "cachedir: {at}/cache\nsources:\n  puppet: {{ remote: 'file://{bare}', basedir: {at}/environments }}\n"
        );
        fs::write(&config, text).expect("a config");
        let mut command: Command = self.place.command("r10k");
        once(command.args(["deploy", "environment"]).args(words).arg("-c").arg(config), b"")
    }

    /// A sample that counts only if all environments are there.
    fn checked(&self, folder: &Path, sample: Sample) -> Sample {
        let there = (0..BRANCHES).filter(|branch| self.file(&folder.join(format!("environments/b{branch}"))).is_file());
        assert_eq!(there.count(), BRANCHES, "environments in {}", folder.display());
        sample
    }
}
