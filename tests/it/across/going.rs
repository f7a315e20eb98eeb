//! What the operator's side does on its own: whom it means, what it would do, and what it refuses.

use super::fleet::Fleet;

#[test]
fn a_dry_run_says_what_would_be_done_and_sends_nothing() {
    let fleet = Fleet::new(&["web01", "web02", "web03", "web04"]);
    let commit = fleet.release("v1", &[]);
    let said = fleet
        .deploy("v1", "web01,web02,web03,web04", &["--dry-run", "--batch", "1,2", "--bake", "90s"])
        .run()
        .success();
    said.stdout(&format!(
        "www: would deploy v1 ({}) on 4 hosts\ncommit: {commit}\nfirst: web01, watched for 90 s\nbatch 1: web02\nbatch 2: web03, \
         web04\nstops when more than 0 fail; hosts that are done stay\n",
        &commit[..7]
    ));
    let said = fleet.deploy("master", "web02,web01", &["--dry-run", "--json"]).run().success().json();
    assert_eq!(
        (&said["commit"], &said["hosts"][0], &said["batches"][0][0]),
        (&commit.into(), &"web02".into(), &"web01".into())
    );
    fleet.operator(["rollout", "list"]).run().success().stdout("");
}

#[test]
fn without_a_broker_nothing_is_kept_or_spooled() {
    let mut fleet = Fleet::new(&["web01"]);
    fleet.release("v1", &[]);
    drop(fleet.embedded.take());
    fleet.deploy("v1", "web01", &[]).run().code(1).stderr_has("no broker was reached, and nothing was sent or kept");
    fleet.operator(["rollout", "list"]).run().success().stdout("");
    fleet.operator(["spool", "list"]).run().success().stdout("nothing waits\n");
}

#[test]
fn what_nobody_could_do_is_refused_before_anything_is_sent() {
    let fleet = Fleet::new(&["web01", "web02"]);
    fleet.release("v1", &[]);
    let on = |reference: &str, on: &str, more: &[&str]| fleet.deploy(reference, on, more).run();
    on("v2", "web01", &[]).code(1).stderr_has("\"v2\" is no tag, no branch and no full commit id of ");
    on("v1", "web01", &["--batch", "0"]).code(2).stderr_has("a batch of nobody never ends");
    on("v1", "web01", &["--within", "40d"]).code(2).stderr_has("--within: a plan is good for 30 days at most");
    on("v1", "web01", &["--within", "0"]).code(2).stderr_has("--within 0: no host could begin in that time");
    fleet.operator(["deploy", "--watch", "--batch", "2"]).run().code(2).stderr_has("'--watch' cannot be used with");
    fleet.operator(["deploy", "nowhere", "v1", "--on", "web01"]).run().code(2).stderr_has("there is no site nowhere");
    fleet.operator(["deploy", "www", "v1", "--canary", "2"]).run().code(2).stderr_has("--on <FILTER>");
    let rollback = ["rollback", "www", "--on", "web01", "--on-failure", "rollback"];
    fleet.operator(rollback).run().code(2).stderr_has("a rollback is not taken back");

    let signers = fleet.world.read("allowed_signers");
    let mine = |text: &str| {
        signers.lines().filter(|line| !line.starts_with("ops@")).chain([text]).collect::<Vec<_>>().join("\n")
    };
    fleet.world.write("allowed_signers", mine(""));
    on("v1", "web01", &[]).code(2).stderr_has("no node would take a plan signed with ");
    let line = signers.lines().find(|line| line.starts_with("ops@")).unwrap();
    fleet.world.write("allowed_signers", mine(&line.replace("ops@example.org", "ops@example.org,ann@example.org")));
    on("v1", "web01", &[]).code(2).stderr_has("is the key of ops@example.org and ann@example.org");
    fleet.world.write("allowed_signers", mine(&line.replace("failcake-plan", "git")));
    on("v1", "web01", &[]).code(2).stderr_has("namespaces=\"failcake-plan\"");
    let key = fleet.world.path("operator/id");
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    on("v1", "web01", &[])
        .code(1)
        .stderr_has("/operator/id: WARNING: UNPROTECTED PRIVATE KEY FILE!; Permissions 0644 for ");
    std::fs::remove_file(&key).unwrap();
    on("v1", "web01", &[]).code(1).stderr_has("can't sign with ");
    let config = fleet.world.read("operator/failcake.yaml");
    let without = config.lines().filter(|line| !line.starts_with("signing:")).collect::<Vec<_>>().join("\n");
    fleet.world.write("operator/failcake.yaml", without);
    on("v1", "web01", &[]).code(2).stderr_has("signing: allowed-signers: is not configured");
    fleet.operator(["rollout", "list"]).run().success().stdout("");
}

#[test]
fn a_plan_that_is_not_there_can_not_be_gone_on_with() {
    let fleet = Fleet::new(&["web01"]);
    fleet.operator(["rollout", "status"]).run().code(1).stderr_has("no plan is kept in ");
    let id = "0193a5c2-7f1e-7bd3-9c41-2f6d0c5a8e17";
    fleet
        .operator(["rollout", "resume", id])
        .run()
        .code(1)
        .stderr_has("no plan 0193a5c2-7f1e-7bd3-9c41-2f6d0c5a8e17 is kept in ");
    fleet.operator(["rollout", "resume", "../x"]).run().code(2).stderr_has("it is no UUID");
}

#[test]
fn a_filter_that_means_nobody_is_refused_with_the_nearest_name() {
    let fleet = Fleet::new(&["web01", "web02"]);
    fleet.release("v1", &[]);
    let on = |filter: &str| fleet.deploy("v1", filter, &[]).run().code(2);
    on("wbe01").stderr_has("did you mean \"web01\"?");
    on("db*").stderr_has("--on");
    on("role=web and").stderr_has("--on");
    on("@nowhere").stderr_has("nowhere");
    fleet.world.write("hosts", "web02\n");
    let listed = format!("@{}", fleet.world.path("hosts").display());
    fleet.deploy("v1", &listed, &["--dry-run"]).run().success().stdout_has("first: web02\n");
    fleet.deploy("v1", "group=web and dc=ams", &["--dry-run", "--json"]).run().success().stdout_has("[\"web02\"]");
    fleet.operator(["rollout", "list"]).run().success().stdout("");
}

#[test]
fn what_can_not_be_kept_is_not_begun() {
    let mut fleet = Fleet::new(&["web01"]);
    fleet.release("v1", &[]);
    fleet.start();
    fleet.operator(["rollout", "list"]).run().success();
    let folder = fleet.world.path(format!("operator/spool/{}/rollouts", nix::unistd::geteuid()));
    std::fs::remove_dir(&folder).unwrap();
    std::fs::write(&folder, "").unwrap();
    fleet.deploy("v1", "web01", &[]).run().code(1).stderr_has("rollouts");
    assert_eq!((fleet.serves("web01"), fleet.releases("web01")), (String::new(), 0));
}
