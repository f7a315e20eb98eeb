//! Clones that are damaged or half made, and one normal run after it.

use nix::sys::signal::Signal;

use super::*;

#[test]
fn a_damaged_clone_is_replaced_by_a_run_and_told() {
    let machine = Machine::new();
    assert_eq!(machine.fetch(&[]).ok(), "cloned: [spog] 1 branches, 0 tags\n");
    fs::write(machine.path("clones/spog/HEAD"), "").unwrap();
    let commit = machine.push("second");
    let said = machine.fetch(&[]).ok();
    let (first, second) = said.split_once('\n').unwrap();
    assert!(
        first.starts_with("set aside: [spog] git could not read the clone (HEAD names nothing); it is kept as "),
        "{said}"
    );
    assert_eq!(second, "cloned: [spog] 1 branches, 0 tags\n");
    assert!(fs::exists(first.rsplit(" as ").next().unwrap()).unwrap());
    assert_eq!(machine.cloned(), commit);
    assert_eq!(machine.fetch(&[]).ok(), "unchanged: [spog]\n");
}

#[test]
fn killed_while_it_replaces_a_damaged_clone_nothing_is_lost_and_the_next_run_completes_it() {
    for moment in ["before", "after"] {
        let machine = Machine::new();
        machine.fetch(&[]).ok();
        fs::write(machine.path("clones/spog/HEAD"), "").unwrap();
        let commit = machine.push("second");
        let (wait, run) = ("touch \"$HOME/here\"; sleep 1000", "PATH=${PATH#*:} git \"$@\"");
        let clone = if moment == "before" { format!("{wait}; {run}") } else { format!("{run}; {wait}") };
        let usual = "PATH=${PATH#*:}\nexec git \"$@\"";
        machine.script("bin/git", &format!("case \"$*\" in *' clone '*) {clone};; esac\n{usual}"));
        let mut run = Running(machine.command_fetch(&[]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        wait_for("clone", String::new, || machine.path("here").exists());
        run.signal(Signal::SIGKILL);
        run.ends();
        assert!(machine.path("clones/spog/objects").exists(), "the damaged one stays until then");
        machine.script("bin/git", usual);
        let said = machine.fetch(&[]).ok();
        assert!(said.starts_with("set aside: [spog]") && machine.cloned() == commit, "{said}");
        let names: Vec<_> = fs::read_dir(machine.path("clones")).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names.len(), 2, "{names:?}");
    }
}

#[test]
fn a_watcher_replaces_a_damaged_clone_and_tells_the_bus() {
    let (machine, broker) = (Machine::new(), Broker::start());
    let events = broker.events();
    machine.configure(&broker.configuration(), &machine.spog());
    let _watcher = machine.watch(&[]);
    events.next("web01 cloned: [spog]");
    fs::remove_dir_all(machine.path("clones/spog/objects")).unwrap();
    let commit = machine.push("second");
    broker.tell("spog", &commit);
    let told = events.next("web01 set aside: [spog] git could not read the clone");
    assert!(told.contains(".damaged-"), "{told}");
    events.next("web01 cloned: [spog]");
    assert_eq!(machine.cloned(), commit);
}

#[test]
fn a_watcher_killed_at_any_moment_is_made_good_by_one_run() {
    let machine = Machine::new();
    for n in 0..30 {
        machine.git("work", &["push", "-q", "origin", &format!("HEAD:refs/heads/b{n}")]);
    }
    for millis in [0, 5, 10, 20, 30, 45, 60, 80, 110, 150, 200, 300] {
        let commit = machine.push(&format!("for {millis}"));
        machine.configure("broker: stomp://127.0.0.1:1\n", &machine.spog());
        let mut watcher = machine.watch(&[]);
        std::thread::sleep(Duration::from_millis(millis));
        watcher.signal(Signal::SIGKILL);
        watcher.ends();
        let said = machine.fetch(&[]);
        assert_eq!((said.status, machine.cloned()), (Some(0), commit), "{millis}: {said:?}");
        assert!(!said.out.contains("set aside"), "{said:?}");
        let names: Vec<_> = fs::read_dir(machine.path("clones")).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names, ["spog"], "{millis}");
        if millis % 2 == 1 || millis == 20 {
            fs::remove_dir_all(machine.path("clones/spog")).unwrap();
        }
    }
}
