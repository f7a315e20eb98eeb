//! Going back to one version on several hosts, each of which names its releases itself.

use super::fleet::Fleet;

/// web01 went v7, v8, v9; web02 and web03 v7, v9; so each has another release before its v9.
fn apart(names: &[&str]) -> Fleet {
    let mut fleet = Fleet::new(names);
    for tag in ["v7", "v8", "v9"] {
        fleet.release(tag, &[]);
    }
    fleet.start();
    fleet.deploy("v7", "web*", &[]).run().success();
    fleet.deploy("v8", "web01", &[]).run().success();
    fleet.deploy("v9", "web*", &[]).run().success();
    fleet
}

#[test]
fn hosts_that_end_apart_are_named_and_a_tag_brings_them_together() {
    let fleet = apart(&["web01", "web02", "web03"]);
    let back = |more: &[&str]| fleet.operator([&["rollback", "www", "--on", "web*"], more].concat()).run();
    let said = back(&[]).success();
    assert_eq!(fleet.all_serve(), ["v8", "v7", "v7"]);
    said.stderr_has(
        "not one version: web01 serves v8, web02 and web03 serve v7; rollback www --to REF goes back to one\n",
    );

    let dry = back(&["--to", "v7", "--dry-run"]).success();
    dry.stdout_has("www: would rollback to v7 on 3 hosts\n");
    assert_eq!(fleet.all_serve(), ["v8", "v7", "v7"]);

    let said = back(&["--to", "v7"]).success();
    assert_eq!(fleet.all_serve(), ["v7"; 3]);
    let text = said.stdout_has("www: rollback to v7: 3 of 3 hosts live; success\n").text();
    assert_eq!(text.matches(" (v7)").count(), 3, "{text}");
    assert_eq!(text.matches(" (v7) already").count(), 2, "{text}");
    for node in ["web02", "web03"] {
        let log = fleet.world.read(format!("{node}/site/revisions.log"));
        assert_eq!(log.matches("rolled back").count(), 1, "{log}");
    }

    let said = back(&["--to", "v9", "--json"]).success().text();
    assert_eq!(fleet.all_serve(), ["v9"; 3]);
    let results: Vec<serde_json::Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let results: Vec<_> = results.iter().filter(|line| line["event"] == "result").collect();
    assert!(results.len() == 3 && results.iter().all(|line| line["ref"] == "v9"), "{said}");
}

#[test]
fn a_host_that_lacks_it_stops_all_before_the_canary() {
    let fleet = apart(&["web01", "web02"]);
    let back = |to: &str| fleet.operator(["rollback", "www", "--on", "web*", "--to", to]).run();
    let said = back("v8").code(1);
    said.stdout_has("web02 refused: there is no release v8 here, and none that was live and is good was deployed as that: there are v7 (")
        .stdout_has("www: rollback to v8: 0 of 2 hosts live; stopped: ");
    assert_eq!(fleet.all_serve(), ["v9"; 2]);
    for node in ["web01", "web02"] {
        let log = fleet.world.read(format!("{node}/site/revisions.log"));
        assert!(!log.contains("rolled back"), "{log}");
    }
    // Nobody holds the site after that.
    back("v7").success();
    assert_eq!(fleet.all_serve(), ["v7"; 2]);
    back("../v9").code(2).stderr_has("is neither a release's name nor a tag, branch or commit");

    // What a release is called on one host means nothing on another.
    let releases = |node: &str| {
        let entries = std::fs::read_dir(fleet.world.path(format!("{node}/site/releases"))).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect::<Vec<_>>()
    };
    let others = releases("web02");
    let own = releases("web01").into_iter().find(|name| !others.contains(name)).unwrap();
    back(&own).code(1).stdout_has(&format!("web02 refused: there is no release {own} here"));
}

#[test]
fn a_host_that_serves_it_is_not_drained() {
    let mut fleet = Fleet::new(&["web01", "web02"]);
    let drain = fleet.world.write("drain", "#!/bin/sh\necho out >>drained\n");
    std::fs::set_permissions(&drain, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    for node in ["web01", "web02"] {
        fleet = fleet.site(node, &format!("drain: ['{}']", drain.display()));
    }
    for tag in ["v7", "v9"] {
        fleet.release(tag, &[]);
    }
    fleet.start();
    fleet.deploy("v7", "web*", &[]).run().success();
    fleet.deploy("v9", "web01", &[]).run().success();
    let drained = |node: &str| fleet.world.read(format!("{node}/site/drained")).lines().count();
    assert_eq!((drained("web01"), drained("web02")), (2, 1));
    fleet.operator(["rollback", "www", "--on", "web*", "--to", "v7"]).run().success();
    assert_eq!((drained("web01"), drained("web02")), (3, 1));
    assert_eq!(fleet.all_serve(), ["v7"; 2]);
}
