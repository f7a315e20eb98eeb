//! One emission, whole process: the hook beside the least C program, the hook of 2012 and stomp.py.

use std::process::Command;

use crate::measure::{Contender, once, race};
use crate::place::{Broker, FAILCAKE, Place};

/// Races them on the embedded broker, ActiveMQ and RabbitMQ.
pub fn run(place: &Place) {
    let (work, ids) = place.history("hook-work", 3);
    let bare = place.path("spog.git");
    place.git(
        &place.path(""),
        &["clone", "--quiet", "--bare", work.to_str().expect("UTF-8"), bare.to_str().expect("UTF-8")],
    );
    let line = format!("{} {} refs/heads/master\n", ids[1], ids[2]);
    for (broker, rounds) in [(place.embedded(), 200), (place.real("activemq"), 60), (place.real("rabbitmq"), 60)] {
        let ours = || {
            Contender::new("failcake notify-commit post-receive", || {
                let mut command = place.command(FAILCAKE);
                command.arg("-c").arg(config(place, &broker)).args(["notify-commit", "post-receive"]);
                once(command.current_dir(&bare), line.as_bytes())
            })
        };
        let yardsticks = vec![
            Contender::new("least C program", || {
                once(&mut rival(place, &broker, place.path("least")), line.as_bytes())
            }),
            ours(),
            Contender::new("an empty process", || once(&mut place.command(place.path("empty")), b"")),
        ];
        race(&format!("One event, {}", broker.kind), rounds, yardsticks);
        let rivals = vec![
            ours(),
            Contender::new("hook of 2012 (ruby-stomp, ruby-git)", || {
                once(rival(place, &broker, "ruby").arg(place.rival("hook.rb")).current_dir(&bare), line.as_bytes())
            }),
            Contender::new("stomp.py, one message", || {
                once(rival(place, &broker, stomp_py()).arg(place.rival("publish.py")), line.as_bytes())
            }),
        ];
        race(&format!("One event beside its rivals, {}", broker.kind), 10, rivals);
    }
    svn(place, &place.embedded());
}

/// One revision: two svnlooks beside one for each thing.
fn svn(place: &Place, broker: &Broker) {
    let repos = place.path("code");
    let config = place.config("svn", &broker.url, "");
    let run = |command: &mut Command| assert!(command.status().is_ok_and(|status| status.success()), "{command:?}");
    run(place.command("svnadmin").arg("create").arg(&repos));
    let trunk = format!("file://{}/spog/trunk", repos.display());
    run(place.command("svn").args(["mkdir", "-q", "--parents", "-m", "layout", &trunk]));
    let contenders = vec![
        Contender::new("svnlook, once", || {
            once(place.command("svnlook").arg("changed").arg(&repos).args(["-r", "1"]), b"")
        }),
        Contender::new("failcake notify-commit svn", || {
            let words = ["notify-commit", "svn"];
            once(place.command(FAILCAKE).arg("-c").arg(&config).args(words).arg(&repos).args(["1", "0-0"]), b"")
        }),
        Contender::new("svn hook of 2012 (ruby-stomp)", || {
            once(rival(place, broker, "ruby").arg(place.rival("svn_hook.rb")).arg(&repos).arg("1"), b"")
        }),
    ];
    race("One revision of Subversion, embedded", 20, contenders);
}

/// A rival learns of the broker by arguments (`least`) or environment (scripts).
fn rival(place: &Place, broker: &Broker, program: impl AsRef<std::ffi::OsStr>) -> Command {
    let least = program.as_ref() == place.path("least");
    let mut command = place.command(program);
    if least {
        command.args([&broker.port.to_string(), "gituser", "gitpw"]);
    }
    command.env("BENCH_PORT", broker.port.to_string()).env("BENCH_LOGIN", "gituser").env("BENCH_PASSCODE", "gitpw");
    command
}

fn config(place: &Place, broker: &Broker) -> std::path::PathBuf {
    let file = place.path(&format!("hook-{}.yaml", broker.kind));
    if !file.exists() {
        place.config(&format!("hook-{}", broker.kind), &broker.url, "");
    }
    file
}

/// The Python that `tests/prepare` put stomp.py into.
fn stomp_py() -> std::path::PathBuf {
    std::path::Path::new(crate::place::ROOT).join("target/venv/bin/python")
}
