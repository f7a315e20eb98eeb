//! What the Ruby toolkit's emitters did wrong, each with the test that it can't come back:
//!
//! | there | test |
//! |---|---|
//! | the hook dies on a deleted ref, later refs are lost | `hook::bus::a_deleted_ref_costs_the_others_nothing` |
//! | the body of ref 2 repeats ref 1 | `hook::bus::an_event_and_a_line_for_people_arrive_for_each_ref` |
//! | one connection for each ref | [`a_push_of_many_refs_is_one_connection`] |
//! | only the tip is reported | `hook::commits`, `hook::refs` |
//! | the repository is its folder's name | `hook::edges::what_the_repository_is_called` |
//! | waits for ever when no broker answers, and the push with it | `hook::bus::without_a_broker_…`, `…_silent_broker_…` |
//! | svn: a shell string with the repository's path | `svn::the_repositorys_path_is_never_a_command` |
//! | svn: only `/trunk` | `svn::trunk_branches_and_tags_are_told_apart` |
//! | svn: the last changed directory is the project | `svn::several_projects_in_one_revision_are_several_events` |
//! | a build that starts is told to the topic `/topic/` | `jenkins_status::each_fate_has_its_topic_…` |
//! | dies when `GIT_BRANCH` is unset | `jenkins_status::without_a_branch_or_any_variable_…` |
//! | the branch `origin/x` makes the repository `origin` | `jenkins_status::the_remotes_name_is_neither_…` |
//! | a package that reprepro refused is announced | `packages::reprepro::what_reprepro_refuses_is_set_aside_…_never_announced` |
//! | half-uploaded packages are taken | `packages::incoming::a_half_uploaded_package_waits_…`, `…_open_to_write_…`, `…_grows_…` |
//! | two runs at once take the same package | `packages::kills::one_run_at_a_time`, `…::ten_runs_at_once_…` |

use std::io;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::sandbox::Sandbox;
use super::sandbox::brokers::Listener;

/// A relay to the broker at `url` that counts who comes; its own URL.
fn counting(url: &str) -> (String, Arc<AtomicUsize>) {
    let broker = url.trim_start_matches("stomp://").to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, count) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let counter = Arc::clone(&count);
    thread::spawn(move || {
        for client in listener.incoming() {
            counter.fetch_add(1, Ordering::SeqCst);
            let (client, server) = (client.unwrap(), TcpStream::connect(&broker).unwrap());
            let (mut from, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            thread::spawn(move || drop(io::copy(&mut from, &mut to)));
            let (mut from, mut to) = (server, client);
            thread::spawn(move || drop(io::copy(&mut from, &mut to)));
        }
    });
    (format!("stomp://{address}"), count)
}

#[test]
fn a_push_of_many_refs_is_one_connection() {
    let world = Sandbox::new();
    let broker = world.broker();
    let (url, count) = counting(&broker.url);
    world.write("failcake.yaml", format!("broker: {url}\n"));
    world.repository("spog");
    world.install_hook("spog");
    let listener = Listener::open(&broker.url, &["/topic/failcake.git.commits"]);
    for number in 0..30 {
        world.git("spog", ["branch", &format!("b{number}")]).run().success();
    }
    world.git("spog", ["push", "-q", "origin", "--all"]).run().success().stderr("");
    assert_eq!(listener.take(30).len(), 30);
    assert_eq!(count.load(Ordering::SeqCst), 1);
}
