//! However much there is to do: so many gits at a time, one of them at work in a repository, one look a second.

use std::collections::BTreeMap;

use super::publishing::push;
use super::*;

/// As the program has it.
const WORKERS: usize = 4;

/// A machine whose gits write down when they begin and end, and take some time in between.
fn counting() -> Machine {
    let machine = Machine::new();
    let git = "echo \"begin $$ $*\" >>\"$CALLS\"\nPATH=${PATH#*:} git \"$@\"; status=$?\nsleep 0.03\n\
               echo \"end $$\" >>\"$CALLS\"\nexit $status";
    machine.script("bin/git", git);
    machine
}

/// What ran at a time, by `calls`.
#[derive(Debug, Default)]
struct Most {
    all: usize,
    /// Of those that change a clone, in one clone.
    in_one: usize,
    /// Of those that write a tree.
    trees: usize,
}

fn most(calls: &str, repos: &[String]) -> Most {
    let mut running: BTreeMap<&str, &str> = BTreeMap::new();
    let mut most = Most::default();
    let is_tree = |call: &str| call.contains(" read-tree ");
    for line in calls.lines() {
        let (word, rest) = line.split_once(' ').unwrap();
        match word {
            "begin" => {
                let (pid, call) = rest.split_once(' ').unwrap();
                running.insert(pid, call);
                most.all = most.all.max(running.len());
                most.trees = most.trees.max(running.values().filter(|call| is_tree(call)).count());
                for repo in repos {
                    let is_in = |call: &&&str| {
                        let place = [format!("/clones/{repo} "), format!("/clones/.{repo}.failcake-")];
                        !is_tree(call) && place.iter().any(|place| call.contains(place.as_str()))
                    };
                    most.in_one = most.in_one.max(running.values().filter(is_in).count());
                }
            }
            _ => drop(running.remove(rest)),
        }
    }
    most
}

#[test]
fn so_many_gits_at_a_time_and_one_in_a_repository() {
    let (machine, broker) = (counting(), Broker::start());
    let url = format!("file://{}", machine.path("spog.git").display());
    let repos: Vec<String> = (0..10).map(|n| format!("r{n:02}x")).collect();
    let all: String = repos.iter().map(|repo| machine.repo(repo, &url)).collect();
    machine.configure(&broker.configuration(), &all);
    machine.write("calls", "");
    machine.fetch(&[]);
    let seen = most(&machine.read("calls"), &repos);
    assert_eq!((seen.all, seen.in_one), (WORKERS, 1), "{seen:?}");

    let events = broker.events();
    let _watcher = machine.watch(&[]);
    machine.says("listening to");
    machine.write("calls", "");
    let commit = machine.push("second");
    machine.write("calls", "");
    for _ in 0..20 {
        broker.publish(repos.iter().map(|repo| event(repo, &commit)).collect());
        std::thread::sleep(Duration::from_millis(50));
    }
    for repo in &repos {
        let told = || machine.read("log").contains(&format!("fetched change: [{repo}] refs/heads/master {commit}"));
        wait_for(&format!("fetch of {repo}"), || machine.read("log"), told);
    }
    drop(events);
    let seen = most(&machine.read("calls"), &repos);
    assert!(seen.all <= WORKERS && seen.in_one == 1, "{seen:?}: {}", machine.read("calls"));
}

#[test]
fn trees_are_written_by_hands_that_nobody_else_needs() {
    let machine = counting();
    let url = format!("file://{}", machine.path("spog.git").display());
    for branch in ["a", "b", "c", "d", "e", "f"] {
        push(&machine, branch, &[("file", branch)]);
    }
    let repos: Vec<String> = ["one", "two", "three"].map(str::to_owned).to_vec();
    let entry = |repo: &String| {
        let keys = format!("mode: branches, target: {}", machine.path("env").join(repo).display());
        fs::create_dir_all(machine.path("env")).unwrap();
        format!("{}, {keys} }}\n", machine.repo(repo, &url).trim_end().trim_end_matches('}'))
    };
    machine.configure("", &repos.iter().map(entry).collect::<String>());
    for (words, trees) in [(&["one"][..], WORKERS..=WORKERS), (&[], 2..=WORKERS)] {
        machine.write("calls", "");
        machine.fetch(words).ok();
        let seen = most(&machine.read("calls"), &repos);
        assert!(seen.all <= WORKERS && seen.in_one == 1 && trees.contains(&seen.trees), "{words:?}: {seen:?}");
    }
    assert_eq!(machine.read("env/three/f/file"), "f");
}

#[test]
fn a_storm_of_events_is_one_look_a_second() {
    let (machine, broker) = (Machine::new(), Broker::start());
    machine.configure(&(broker.configuration() + "reconcile: 1h\n"), &machine.spog());
    let _watcher = machine.watch(&[]);
    machine.says("listening to");
    machine.says("cloned: [spog]");
    // The look after the connect.
    std::thread::sleep(Duration::from_secs(3));
    let commit = machine.push("second");
    machine.write("calls", "");
    let begun = Instant::now();
    let mut count = 0;
    while begun.elapsed() < Duration::from_secs(5) {
        broker.publish((0..50).map(|_| event("spog", &commit)).collect());
        count += 50;
    }
    // What came last may be looked at a second later.
    std::thread::sleep(Duration::from_secs(2));
    let (looks, seconds) = (machine.calls("fetch") + machine.calls("ls-remote"), begun.elapsed().as_secs() as usize);
    assert!((2..=seconds + 1).contains(&looks), "{looks} looks in {seconds} s for {count} events");
    assert_eq!(machine.cloned(), commit);
}
