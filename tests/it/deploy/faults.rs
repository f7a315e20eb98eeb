//! Killed anywhere, disk full, disk read-only: the site serves a whole release, and the next run repairs.

use std::process::Command;

use super::sandbox::{Said, Sandbox, is_root};
use super::sweep::{self, Fault, Run, Swept};

/// The whole of it, with each git as well, is `make sweep`.
#[test]
fn a_kill_at_any_call_of_failcake_leaves_a_whole_release_and_the_next_run_repairs() {
    kill_at_any_call(&Swept::new(), &[Run::Steady, Run::Rollback]);
}

/// Of Subversion as well.
#[test]
fn a_kill_at_any_call_of_failcake_leaves_a_whole_release_of_a_subversion_site() {
    kill_at_any_call(&Swept::svn(), &[Run::Steady, Run::Rollback]);
}

/// And of link farms, with their trees.
#[test]
fn a_kill_at_any_call_of_failcake_leaves_a_whole_link_farm() {
    kill_at_any_call(&Swept::farm(), &[Run::Steady, Run::Rollback]);
}

fn kill_at_any_call(swept: &Swept, runs: &[Run]) {
    for run in runs {
        let kills = swept.sweep(*run, &[Fault::Kill { all: false }], |point| point.process == 0);
        println!("{run:?}: {kills} kills");
        assert!(kills > 10, "{kills}: the sweep found its points");
    }
}

#[test]
fn a_repair_switches_nothing_and_a_run_that_is_refused_after_it_has_repaired() {
    let swept = Swept::new();
    let site = &swept.site;
    for _ in 0..3 {
        site.deploy("v-one").ok();
    }
    let args = ["deploy", "www", "v-two"];
    let points = sweep::record(site, &args);
    let switch = points.iter().rposition(|point| point.call == "rename").unwrap();
    for point in points[..=switch].iter().filter(|point| point.process == 0 && point.call == "rename") {
        site.deploy("v-one").ok();
        let _ = sweep::run(site, &args, point, Fault::Kill { all: false });
        let after_kill = site.current();
        site.deploy("no-such-ref").fails(1);
        assert_eq!(site.current(), after_kill);
        assert!(swept.served().is_some());
        site.assert_tidy();
    }
}

#[test]
fn a_full_disk_leaves_the_old_release_and_an_order_to_free_space() {
    let site = Sandbox::new().keep(1);
    fill_disks(&site, "v-", "", &|name, files| drop(site.commit(name, files)));
}

#[test]
fn a_full_disk_leaves_the_old_release_of_a_subversion_site() {
    let project = super::svn::Project::new();
    let project = super::svn::Project { site: project.site.keep(1) };
    fill_disks(&project.site, "tags/", "", &|name, files| {
        project.commit("trunk", files);
        project.tag(name);
    });
}

#[test]
fn a_full_disk_leaves_the_old_link_farm() {
    let farm = super::farm::Farm::of("[ { repo: lib, target: web } ]", "files");
    let site = farm.site.clone_with("scripts: web/deploy").keep(1);
    fill_disks(&site, "lib=v-", "web/", &|name, files| drop(farm.commit("lib", name, files)));
}

/// Name and files.
type Commit<'a> = dyn Fn(&str, &[(&str, &str)]) + 'a;

/// Staging that finds too little room at many points, and scripts that fill the disk before the record and after.
/// `commit` makes what is deployed as `prefix` and its name, with its files in the folder `inside` of the release.
fn fill_disks(site: &Sandbox, prefix: &str, inside: &str, commit: &Commit<'_>) {
    if !is_root() {
        eprintln!("not run: needs root to mount a small disk");
        return;
    }
    let fill = "#!/bin/sh\ncat /dev/zero > ../../shared/fill; true\n";
    commit("one", &[("index.html", "one")]);
    commit("pre", &[("index.html", "pre"), ("deploy/pre-link", fill)]);
    commit("post", &[("index.html", "post"), ("deploy/pre-link", "#!/bin/sh\n"), ("deploy/post-deploy", fill)]);
    let big = "x".repeat(100_000);
    let parts: Vec<String> = (0..20).map(|n| format!("big{n}")).collect();
    let mut files: Vec<(&str, &str)> = parts.iter().map(|name| (name.as_str(), big.as_str())).collect();
    files.extend([("index.html", "two"), ("deploy/post-deploy", "#!/bin/sh\n")]);
    commit("two", &files);
    let run = format!(
        "F='{failcake} -c {config}'; S={site}; serves() {{ [ \"$(cat $S/current/{inside}index.html)\" = $1 ]; }}
         mount -t tmpfs -o size=2m tmpfs $S && $F deploy www {prefix}one && serves one || exit 90
         $F deploy www {prefix}pre && exit 91
         serves one || exit 92; rm $S/shared/fill
         $F deploy www {prefix}post; echo post $?; serves post || exit 93; rm $S/shared/fill
         $F deploy www {prefix}one && serves one && grep -c {prefix}post $S/revisions.log || exit 94
         for kib in $(seq 1200 150 2400); do
           mount -o remount,size=$(($(df --output=used -k $S | tail -1) + kib))k $S || exit 95
           if $F deploy www {prefix}two; then serves two || exit 96; break; fi
           serves one || exit 97; echo full
         done
         mount -o remount,size=16m $S && $F deploy www {prefix}two && serves two || exit 98",
        site = site.path("").display(),
        failcake = env!("CARGO_BIN_EXE_failcake"),
        config = site.config.display(),
    );
    let said = Said::of(Command::new("unshare").args(["-m", "sh", "-c", &run]).output().unwrap()).ok();
    assert!(said.out.matches("full\n").count() >= 4, "{}{}", said.out, said.err);
    assert!(said.out.contains("post 1\n"), "what could not be recorded is no success: {}", said.out);
    assert!(
        said.err.contains("is live, but that could not be recorded") && said.err.contains("free some space"),
        "{}",
        said.err
    );
}

#[test]
fn a_read_only_disk_is_told() {
    if !is_root() {
        eprintln!("not run: needs root to mount");
        return;
    }
    let site = Sandbox::new();
    site.commit("one", &[("index.html", "one")]);
    site.deploy("master").ok();
    let run = format!(
        "mount --bind {site} {site} && mount -o remount,bind,ro {site} && {failcake} -c {config} deploy www master; \
         echo status $?; {failcake} -c {config} rollback www; echo status $?; {failcake} -c {config} state www",
        site = site.path("").display(),
        failcake = env!("CARGO_BIN_EXE_failcake"),
        config = site.config.display(),
    );
    let said = Said::of(Command::new("unshare").args(["-m", "sh", "-c", &run]).output().unwrap()).ok();
    assert_eq!(said.out.matches("status 1\n").count(), 2, "{}{}", said.out, said.err);
    assert!(
        said.err.contains("Read-only file system") && said.out.contains(": live since"),
        "{}{}",
        said.out,
        said.err
    );
    assert_eq!(site.read("current/index.html"), "one");
}
