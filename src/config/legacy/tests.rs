use std::path::{Path, PathBuf};
use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use crate::config::{AccessKind, Bus, Config, Mode, Pattern, Secret, SecretPlace, Source, import};

const FIXTURES: [&str; 14] = [
    "stomp-postrec.yaml",
    "svn-stomp.yaml",
    "jenkins-helper.yaml",
    "auto-reprepro.yaml",
    "stomp-keepalive.yaml",
    "stomp-git.yaml",
    "stomp-git-connector.yaml",
    "stomp-git-first.yaml",
    "stomp-jenkins.yaml",
    "stomp-access.yaml",
    "cillit-access.yaml",
    "gitlab-stomp.yaml",
    "www.example.org.yaml",
    "git-agent.yaml",
];

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/legacy").join(name)
}

/// Without the environment of whoever runs the tests.
fn load(path: &Path) -> Result<Config, String> {
    Source { file: Some(path.to_owned()) }.load_in(&|_| None, Path::new("/nonexistent")).map_err(|error| error.0)
}

fn bus(path: &Path) -> Result<Bus, String> {
    Source { file: Some(path.to_owned()) }.bus_in(&|_| None, Path::new("/nonexistent")).map_err(|error| error.0)
}

fn old(name: &str) -> Config {
    load(&fixture(name)).unwrap_or_else(|error| panic!("{error}"))
}

/// A file of that text in a scratch folder.
struct Written {
    folder: tempfile::TempDir,
    path: PathBuf,
}

fn written(name: &str, text: &str) -> Written {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    Written { folder, path }
}

/// What loading a file of that text is refused with.
fn mistake(text: &str) -> String {
    let file = written("stomp-git.yaml", text);
    let error = load(&file.path).expect_err(text);
    error.replace(&format!("{}/", file.folder.path().display()), "")
}

/// The warnings of a file of that text.
fn warnings(text: &str) -> Vec<String> {
    let file = written("stomp-git.yaml", text);
    let new = super::read(&file.path, text, true).unwrap().unwrap();
    let folder = format!("{}/", file.folder.path().display());
    new.warnings().iter().map(|warning| warning.replace(&folder, "")).collect()
}

/// `HOST:PORT LOGIN PASSCODE` of each host of the bus.
fn hosts(bus: &Bus) -> Vec<String> {
    let each = bus.broker.hosts.iter().map(|host| {
        let passcode = host.passcode.as_deref().or(bus.passcode.as_ref().map(|passcode| passcode.0.as_str()));
        format!("{} {} {}", host.address(), host.login.as_deref().unwrap_or("-"), passcode.unwrap_or("-"))
    });
    each.collect()
}

/// All that a configuration means, wherever its secrets are kept.
fn meaning(config: &Config) -> (Json, Vec<String>) {
    fn without_files(value: &mut Json) {
        match value {
            Json::Object(map) => {
                map.retain(|key, _| key != "passcode-file" && key != "token-file");
                map.values_mut().for_each(without_files);
            }
            Json::Array(list) => list.iter_mut().for_each(without_files),
            _ => {}
        }
    }
    let mut json = config.to_json();
    without_files(&mut json);
    let mut secrets = hosts(&config.bus);
    for beat in &config.keepalive {
        let own = beat.broker.as_ref().and_then(|broker| broker.hosts[0].passcode.clone());
        let passcode = own.or(beat.passcode.as_ref().map(|file| file.read().unwrap().0));
        secrets.push(format!("{} {passcode:?}", beat.destination));
    }
    for (name, project) in &config.jenkins.projects {
        let token = project.token.as_ref().map(|place| place.read().unwrap().0);
        secrets.push(format!("{name} {token:?}"));
    }
    (json, secrets)
}

const BOTH: [&str; 2] = ["broker01:61613 gituser gitpw", "broker02:61613 gituser gitpw"];

#[test]
fn each_file_of_a_hook_gives_broker_and_topics() {
    for (name, events, destination) in [
        ("stomp-postrec.yaml", "events-git", "/topic/future.events.gitolite"),
        ("svn-stomp.yaml", "events-svn", "/topic/future.events.svnserver"),
    ] {
        let bus = bus(&fixture(name)).unwrap();
        assert_eq!(hosts(&bus), BOTH, "{name}");
        assert_eq!(
            bus.broker.reconnect,
            crate::stomp::url::Reconnect::default(),
            "{name}: all of it is today's default"
        );
        assert_eq!(bus.topics.get("commits"), "/topic/future.git.commits", "{name}");
        assert_eq!(bus.topics.get(events), destination, "{name}");
        assert_eq!(bus.topics.prefix, "future", "{name}: what it does not name goes beside it");
        assert_eq!(bus.topics.get("deploy-requests"), "/topic/future.deploy.requests");
    }
    let bus = bus(&fixture("jenkins-helper.yaml")).unwrap();
    assert_eq!((hosts(&bus), bus.topics.prefix.as_str()), (BOTH.map(str::to_owned).to_vec(), "failcake"));
}

#[test]
fn gitlabs_hosts_may_have_passcodes_of_their_own_and_numbers_for_them() {
    let bus = old("gitlab-stomp.yaml").bus;
    assert_eq!(hosts(&bus), ["broker01:61613 broker-user 12345", "broker02:61613 broker-user another%41"]);
    assert_eq!(bus.topics.get("events-webhook"), "/topic/future.events.gitlab");
}

#[test]
fn both_generations_of_stomp_git_give_repositories() {
    let config = old("stomp-git.yaml");
    assert_eq!(hosts(&config.bus), BOTH);
    let reconnect = &config.bus.broker.reconnect;
    assert_eq!(reconnect.initial_delay, Duration::from_millis(500));
    assert_eq!((reconnect.max_delay, reconnect.multiplier), (Duration::from_secs(60), 3.0));
    assert!(reconnect.randomize && reconnect.max_attempts.is_none() && reconnect.timeout.is_none());
    assert_eq!(config.bus.topics.get("commits"), "/topic/future.git.commits");
    assert_eq!(config.bus.topics.get("events-fetch"), "/topic/future.events.stomp-git");
    let repo = |config: &Config, name: &str| config.repos[&name.parse().unwrap()].clone();
    let spog = repo(&config, "spog");
    assert_eq!((spog.path, spog.user.as_deref()), ("/data/repo/spog".into(), Some("www-data")));
    assert_eq!(
        (spog.mode, spog.target, spog.listen.as_str()),
        (Mode::Branch, Some("/data/site/spog".into()), "commits")
    );
    assert_eq!(repo(&config, "example-repo").mode, Mode::Fetch);
    assert_eq!(repo(&config, "puppet-hieradata").mode, Mode::InPlace);
    assert_eq!(repo(&config, "puppet-environments").mode, Mode::Branches);

    let config = old("stomp-git-connector.yaml");
    assert_eq!(hosts(&config.bus), ["broker-1:61613 stomp-user stomp-pass", "broker-2:61613 stomp-user stomp-pass"]);
    assert_eq!(config.bus.broker.reconnect.max_delay, Duration::from_millis(12_500));
    assert_eq!((config.bus.vhost.as_str(), config.bus.heart_beat), ("stompgit", Duration::from_secs(30)));
    let spog = repo(&config, "spog");
    assert_eq!((spog.mode, spog.branch.as_deref()), (Mode::Branch, Some("live")));
    assert_eq!(repo(&config, "flat").mode, Mode::BranchesFlat);
    assert_eq!(repo(&config, "tagged").mode, Mode::Tags);
}

#[test]
fn before_the_lists_every_other_key_was_a_repository_or_a_project() {
    let config = old("stomp-git-first.yaml");
    let paths: Vec<_> = config.repos.iter().map(|(name, repo)| (name.as_str(), repo.path.to_str().unwrap())).collect();
    assert_eq!(paths, [("puppet-environments", "/etc/puppet/puppet-environments"), ("spog", "/data/www.spog.com")]);
    let text = "rserver: stomp://a:b@c:61613\njenkins-url: http://j:8080\npuppet-environments: TOKEN\n";
    let config = load(&written("x.yaml", text).path).unwrap();
    let project = &config.jenkins.projects[&"puppet-environments".parse().unwrap()];
    assert_eq!(project.jobs[0].as_str(), "puppet-environments");
    assert_eq!(project.token, Some(SecretPlace::Here(Secret("TOKEN".to_owned()))));
}

#[test]
fn jenkins_projects_have_one_level_or_two() {
    let config = old("stomp-jenkins.yaml");
    assert_eq!(config.jenkins.url.as_deref(), Some("http://jenkins.example.org:8080"));
    let projects: Vec<_> = config
        .jenkins
        .projects
        .iter()
        .map(|(name, it)| {
            (
                name.as_str(),
                it.jobs[0].as_str(),
                it.ignore_refs.as_ref().map(Pattern::as_str),
                it.token.as_ref().unwrap().read().unwrap().0,
            )
        })
        .collect();
    assert_eq!(
        projects,
        [
            ("my-single-project", "my-jenkins-project", Some("refs/tags/jenkins-(?:.*)"), "MY_JENKINS_KEY".to_owned()),
            ("their-legacy-repo/awful-project", "awful-jenkins-project", None, "AWFUL_KEY".to_owned()),
            ("their-legacy-repo/time-sink", "name containing spaces", None, "WASTE".to_owned()),
        ]
    );
    assert_eq!(config.bus.topics.get("events-jenkins"), "/topic/future.events.jenkins");
}

#[test]
fn the_keepalives_destinations_have_logins_of_their_own() {
    let config = old("stomp-keepalive.yaml");
    assert_eq!(hosts(&config.bus), ["broker01:61613 - -", "broker02:61614 - -"]);
    let beats: Vec<_> =
        config.keepalive.iter().map(|beat| (beat.destination.as_str(), beat.broker.clone().unwrap())).collect();
    assert_eq!(beats[0].0, "/topic/future.git.commits");
    assert_eq!(beats[1].0, "/queue/future.randomqueue.dev");
    assert_eq!(
        beats[1].1.reveal(),
        "failover:(stomp://queueuser:83@broker01:61613,stomp://queueuser:83@broker02:61614)"
    );
    assert_eq!(beats[0].1.hosts[1].login.as_deref(), Some("gitbot"));
}

#[test]
fn sites_packages_and_the_access_page() {
    let config = old("stomp-access.yaml");
    assert_eq!(config.bus.topics.get("access"), "/topic/future.access.stage");
    assert_eq!(config.bus.topics.get("events-access"), "/topic/future.events.stageaccess");
    let kinds: Vec<_> =
        config.access.iter().map(|(name, it)| (name.as_str(), it.kind, it.file.to_str().unwrap())).collect();
    let nginx = ("example-site", AccessKind::Nginx, "/etc/nginx/includes/example-preview.access");
    assert_eq!(kinds, [("different-site", AccessKind::Haproxy, "/etc/haproxy/different.access"), nginx]);
    assert!(old("cillit-access.yaml").access.is_empty());
    assert_eq!(old("cillit-access.yaml").bus.topics.get("access"), "/topic/future.access.stage");

    let config = old("auto-reprepro.yaml");
    assert_eq!(config.packages.incoming.as_deref(), Some(Path::new("/home/jenkins-ci")));
    assert_eq!(config.packages.repository.as_deref(), Some(Path::new("/var/www/repo")));
    assert_eq!(config.bus.topics.get("packages"), "/topic/future.package.updates");
    assert_eq!(config.bus.topics.get("events-repository"), "/topic/future.events.repository");
}

#[test]
fn what_is_imported_means_the_same() {
    for name in FIXTURES {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("failcake.yaml");
        let import = import(&[fixture(name)]).unwrap();
        import.write(&output, false).unwrap();
        assert_eq!(meaning(&load(&output).unwrap()), meaning(&old(name)), "{name}");
        let text = std::fs::read_to_string(&output).unwrap();
        if name != "gitlab-stomp.yaml" {
            for secret in ["gitpw", "stomp-pass", "botpw", "broker-password", "KEY", "WASTE"] {
                assert!(!text.contains(secret), "{name}: {secret} in\n{text}");
            }
        }
        // A terminal is shown no secret at all.
        let text = import.text().unwrap();
        for secret in ["gitpw", "stomp-pass", "botpw", "broker-password", "KEY", "WASTE", "12345", "another"] {
            assert!(!text.contains(secret), "{name}: {secret} in\n{text}");
        }
    }
}

#[test]
fn secrets_are_files_that_only_their_owner_reads() {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("new.yaml");
    let names = |written: &[PathBuf]| -> Vec<String> {
        written.iter().map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect()
    };
    let jenkins = import(&[fixture("stomp-jenkins.yaml"), fixture("stomp-keepalive.yaml")]).unwrap();
    let written = jenkins.write(&output, false).unwrap();
    let all =
        ["new.passcode", "new-2.passcode", "new-3.passcode", "new.token", "new-2.token", "new-3.token", "new.yaml"];
    assert_eq!(names(&written), all);
    let (main, secrets) = written.split_last().unwrap();
    assert!(secrets.iter().all(|path| mode(path) == 0o600));
    assert_eq!(mode(main) & 0o400, 0o400);
    // Hosts with different passcodes leave them in the URL.
    let output = folder.path().join("gitlab.yaml");
    assert_eq!(
        names(&import(&[fixture("gitlab-stomp.yaml")]).unwrap().write(&output, false).unwrap()),
        ["gitlab.yaml"]
    );
    assert_eq!(mode(&output), 0o600);
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().starts_with('.')), "{left:?}");
}

#[test]
fn nothing_is_overwritten_unless_asked_and_a_second_try_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("failcake.yaml");
    let import = import(&[fixture("stomp-postrec.yaml")]).unwrap();
    std::fs::write(&output, "prefix: mine\n").unwrap();
    let error = import.write(&output, false).unwrap_err().to_string();
    assert!(error.contains("is there already") && error.contains("--force"), "{error}");
    assert_eq!(std::fs::read_to_string(&output).unwrap(), "prefix: mine\n");
    assert!(!folder.path().join("failcake.passcode").exists());
    // Killed between the secret and the configuration.
    std::fs::remove_file(&output).unwrap();
    std::fs::write(folder.path().join("failcake.passcode"), "gitpw\n").unwrap();
    assert_eq!(import.write(&output, false).unwrap(), std::slice::from_ref(&output));
    // Somebody else's secret.
    std::fs::remove_file(&output).unwrap();
    std::fs::write(folder.path().join("failcake.passcode"), "other\n").unwrap();
    assert!(import.write(&output, false).is_err());
    assert!(!output.exists());
    import.write(&output, true).unwrap();
    assert_eq!(std::fs::read_to_string(folder.path().join("failcake.passcode")).unwrap(), "gitpw\n");
}

#[test]
fn files_that_agree_are_joined_and_others_are_not() {
    let all = [
        "stomp-postrec.yaml",
        "svn-stomp.yaml",
        "jenkins-helper.yaml",
        "auto-reprepro.yaml",
        "stomp-jenkins.yaml",
        "stomp-keepalive.yaml",
    ];
    let joined = import(&all.map(fixture)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("failcake.yaml");
    joined.write(&output, false).unwrap();
    let config = load(&output).unwrap();
    assert_eq!(hosts(&config.bus), BOTH, "the keepalive's servers have no login: another file's broker counts");
    assert_eq!((config.keepalive.len(), config.jenkins.projects.len()), (2, 3));
    assert_eq!(config.bus.topics.get("events-svn"), "/topic/future.events.svnserver");
    let error = import(&["stomp-postrec.yaml", "stomp-access.yaml"].map(fixture)).unwrap_err().0;
    assert!(
        error.contains("stomp-access.yaml") && error.contains("differ in broker") && !error.contains("pw"),
        "{error}"
    );
    let new = written("failcake.yaml", "prefix: x\n");
    assert!(import(std::slice::from_ref(&new.path)).unwrap_err().0.contains("is no old file"));
}

#[test]
fn a_mixture_of_old_and_new_is_refused_with_its_line() {
    let error = mistake("rserver: stomp://a:b@c:61613\nbroker: stomp://a\n");
    assert!(error.starts_with("stomp-git.yaml:2: broker: is a key of today"), "{error}");
    assert!(error.contains("rserver: in line 1") && error.contains("config import"), "{error}");
    let error = mistake("prefix: x\nrepo-list:\n");
    assert!(error.starts_with("stomp-git.yaml:1: prefix: is a key of today"), "{error}");
    let error = mistake("rserver: stomp://a:b@c:61613\nstompconnector: { :hosts: [ { :host: a } ] }\n");
    assert!(error.contains("rserver is there as well"), "{error}");
}

#[test]
fn a_new_file_stays_one() {
    for text in
        ["# rserver: was here\nprefix: x\n", "node: a\ninventory:\n  a:\n    facts:\n      rserver: x\n", "- rserver\n"]
    {
        assert!(!super::is_old(text), "{text}");
    }
    for text in ["rserver: a", "---\n\"repo-list\":\n", "{rserver: a}", "jenkins-url : x"] {
        assert!(super::is_old(text), "{text}");
    }
    // Only the first look can be fooled.
    let fooled = "prefix: x # said in\n# the old way\nnode: \"a\nrserver:b\"\n";
    assert!(super::is_old(fooled) && super::read(Path::new("x"), fooled, true).unwrap().is_none());
}

#[test]
fn drop_ins_are_never_old() {
    let machine = written("failcake.yaml", "prefix: x\n");
    let drop_in = machine.folder.path().join("conf.d");
    std::fs::create_dir(&drop_in).unwrap();
    std::fs::copy(fixture("stomp-git.yaml"), drop_in.join("stomp-git.yaml")).unwrap();
    let env = |name: &str| (name == "XDG_CONFIG_HOME").then(|| "/nonexistent".into());
    let error = Source { file: None }.load_in(&env, machine.folder.path()).unwrap_err().0;
    assert!(error.contains("can't be a drop-in") && error.contains("config import"), "{error}");
}

#[test]
fn unknown_keys_are_warned_of_and_left_out() {
    let told = warnings(
        "rserver: stomp://a:b@c:61613\nstomp-option: x\nzebra: [1]\nrepo-list:\n  spog: { repo: /s, usr: ann }\n",
    );
    assert_eq!(
        told,
        [
            "stomp-git.yaml:2: unknown key \"stomp-option\" is left out: did you mean \"stomp-options\"?",
            "stomp-git.yaml:3: unknown key \"zebra\" is left out: the old tools did not read it either",
            "stomp-git.yaml:5: unknown key \"usr\" is left out: did you mean \"user\"?",
        ]
    );
    let told = warnings("rserver: stomp://a:b@c:61613\nstomp-options: MaxReconnectDelay=30&MaxReconectAttempts=2\n");
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].starts_with("stomp-git.yaml:2: ") && told[0].contains("maxReconnectAttempts"), "{told:?}");
    let told = warnings("rserver: stomp://a:b@c:61613\nrepo-list: { spog: { repo: /s, target: /t, mode: branch } }\n");
    assert!(told[0].contains("never checked anything out"), "{told:?}");
    let ssl = "stompconnector: { :hosts: [ { :host: a, :ssl: true } ] }\n";
    assert!(warnings(ssl)[0].contains("trusted every certificate"), "{:?}", warnings(ssl));
}

#[test]
fn what_could_never_work_is_refused_and_says_where() {
    let base = "rserver: stomp://gituser:gitpw@c:61613\n";
    for (text, wanted) in [
        ("repo-list: { spog: { mode: normal } }\n", "2: spog: the repository has no repo"),
        ("repo-list: { spog: { repo: /s, mode: puppetmaster } }\n", "2: spog: mode branches needs a target"),
        ("repo-list: { spog: { repo: /s, mode: puppetmastr } }\n", "did you mean \"puppetmaster\"?"),
        ("repo-list: { spog: { repo: data/s } }\n", "2: repo: \"data/s\" is no absolute path"),
        ("repo-list: { spog: { repo: /s, user: [a] } }\n", "2: user: a list is there"),
        ("repo-list: { ../../etc: { repo: /s } }\n", "2: ../../etc: \"..\" is no repository name"),
        ("repo-list: spog\n", "2: repo-list: a mapping is wanted"),
        ("listen-topic: { a: b }\n", "2: listen-topic: a mapping is there"),
        ("jenkins-projects: { spog: { ticket: x } }\n", "2: spog: it has no project"),
        ("sites: { spog: { file: /x, type: apache } }\n", "there is no type \"apache\""),
        ("sites: { spog: { type: nginx } }\n", "the site needs file and type"),
        ("incoming-dir: incoming\n", "2: incoming-dir: \"incoming\" is no absolute path"),
    ] {
        let error = mistake(&format!("{base}{text}"));
        assert!(error.contains(wanted) && error.starts_with("stomp-git.yaml:2"), "{text}: {error}");
        assert!(!error.contains("gitpw"), "{error}");
    }
    for (text, wanted) in [
        ("repo-list:\n", "no broker: say rserver or stompconnector"),
        ("rserver: broker01\n", "1: rserver: the broker URL: no scheme"),
        ("stompconnector: { :hosts: [] }\n", "it has no hosts"),
        ("stompconnector: { :hosts: { :host: a } }\n", "1: hosts: a list is wanted"),
        ("stompconnector: { :hosts: [ { :host: a, :port: 0 } ] }\n", "1: port: no number from 1 to 65535"),
        ("stompconnector: { :hosts: [ { :host: 'a b', :passcode: geheim } ] }\n", "1: hosts: the broker URL"),
        ("stompconnector: { :hosts: [ { :host: a, :passcode: 1.5 } ] }\n", "1: passcode: that is a number with"),
        ("stompserver1: a\ntopics: { t: { user: u, pass: p, type: exchange } }\n", "its type is topic or queue"),
        ("rserver: stomp://a\n\trepo-list:\n", "stomp-git.yaml:"),
        ("rserver: [\n", "stomp-git.yaml:"),
    ] {
        let error = mistake(text);
        assert!(error.contains(wanted) && error.starts_with("stomp-git.yaml"), "{text}: {error}");
        assert!(!error.contains("geheim"), "{error}");
    }
}

#[test]
fn rubys_yaml_is_read_as_ruby_read_it() {
    let passcode = |word: &str| {
        let text = format!("stompconnector:\n  :hosts:\n  - :host: a\n    :passcode: {word}\n");
        hosts(&load(&written("x.yaml", &text).path).unwrap().bus)[0].rsplit(' ').next().unwrap().to_owned()
    };
    for (word, read) in [
        ("0123", "83"),
        ("'0123'", "0123"),
        ("12345", "12345"),
        ("yes", "true"),
        ("'yes'", "yes"),
        ("~", "-"),
        ("a%41", "a%41"),
        ("!ruby/sym foo", "foo"),
        ("!str 7", "7"),
        ("\"a'b\"", "a'b"),
    ] {
        assert_eq!(passcode(word), read, "{word}");
    }
    // Of two keys the last; symbols in each spelling; a percent sign is itself.
    let text = "rserver: stomp://a:first@b:1\nrserver: stomp://a:s%41@b:61613\n";
    assert_eq!(hosts(&load(&written("x.yaml", text).path).unwrap().bus), ["b:61613 a s%41"]);
    let text = "stompconnector:\n  !ruby/sym hosts:\n  - :\"host\": a\n    :host: b\n    login: c\n";
    assert_eq!(hosts(&load(&written("x.yaml", text).path).unwrap().bus), ["b:61613 c -"]);
    let text = "stompconnector:\n  :hosts:\n  - &one\n    :host: a\n    :login: u\n  - <<: *one\n    :host: b\n";
    assert_eq!(hosts(&load(&written("x.yaml", text).path).unwrap().bus), ["a:61613 u -", "b:61613 u -"]);
}

#[test]
fn tls_needs_roots_and_takes_the_old_ones() {
    let text =
        "stompconnector:\n  :hosts:\n  - :host: a\n    :ssl: !ruby/object:Stomp::SSLParams\n      ts_files: ca.pem\n";
    let file = written("x.yaml", text);
    let config = load(&file.path).unwrap();
    assert!(config.bus.broker.hosts[0].tls);
    assert_eq!(config.bus.broker.hosts[0].port, 61614);
    assert_eq!(config.bus.tls.ca_file, Some(file.folder.path().join("ca.pem")));
}

#[test]
fn a_hooks_file_under_another_name_works_with_every_hook() {
    let text = "rserver: stomp://a:b@c:61613\ntrigger-topic: /queue/pushes\nreport-topic: chat\n";
    let topics = bus(&written("our.yaml", text).path).unwrap().topics;
    assert_eq!((topics.get("commits").as_str(), topics.prefix.as_str()), ("/queue/pushes", "failcake"));
    for key in ["events-git", "events-svn", "events-webhook"] {
        assert_eq!(topics.get(key), "/topic/chat", "{key}");
    }
    let text = "rserver: stomp://a:b@c:61613\ntrigger-topic: future.jenkins\n";
    let topics = bus(&written("jenkins-helper.yaml", text).path).unwrap().topics;
    assert_eq!(topics.get("jenkins-failure"), "/topic/future.jenkins");
}

/// Bombs: a billion laughs, deep nesting, a list without end. Each is refused, in bounded time.
#[test]
fn bombs_are_refused() {
    let mut laughs = "rserver: x\na0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n".to_owned();
    for level in 1..12 {
        let alias = format!("*a{}", level - 1);
        laughs += &format!("a{level}: &a{level} [{}]\n", [alias.as_str(); 9].join(", "));
    }
    assert!(mistake(&laughs).starts_with("stomp-git.yaml"));
    assert!(mistake(&format!("rserver: x\na: {}\n", "[".repeat(100_000))).starts_with("stomp-git.yaml"));
    let deep: String = (0..2000).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
    assert!(mistake(&format!("rserver: x\n{deep}")).starts_with("stomp-git.yaml"));
    let wide: String = (0..200_000).map(|n| format!("k{n}: 1\n")).collect();
    assert!(mistake(&format!("rserver: x\n{wide}")).starts_with("stomp-git.yaml"));
}

#[test]
fn a_mistake_that_is_none_of_its_business_costs_an_emitter_no_event() {
    let text = "rserver: stomp://a:b@c:61613\ntrigger-topic: future.git.commits\nrepo-list: { spog: { repo: none } }\nzebra: 1\n";
    let file = written("stomp-git.yaml", text);
    assert!(load(&file.path).unwrap_err().contains("3: repo:"));
    assert_eq!(bus(&file.path).unwrap().topics.get("commits"), "/topic/future.git.commits");
    assert_eq!(super::read(&file.path, text, false).unwrap().unwrap().warnings(), [""; 0], "nor a line at each push");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn arbitrary_text_never_panics(text in "\\PC{0,400}") {
        let _ = super::is_old(&text);
        let _ = super::read(Path::new("x"), &format!("rserver: stomp://a\n{text}"), true);
        let _ = super::read(Path::new("x"), &text, true);
    }

    #[test]
    fn arbitrary_values_of_old_keys_never_panic_and_what_is_taken_can_be_written(
        key in prop::sample::select(super::KEYS.map(|(key, _)| key).to_vec()),
        below in prop::sample::select(vec!["", "spog", "hosts", ":hosts", "a b", "é", "0", "yes"]),
        word in "[ -~é\\n]{0,30}",
    ) {
        let value = json!(word);
        for value in [value.clone(), json!({ below: value.clone() }), json!({ below: { "repo": "/s", "file": word, "project": word, "ticket": word } }), json!([value])] {
            let text = format!("rserver: stomp://a\n{}", serde_saphyr::to_string(&json!({ key: value })).unwrap());
            if let Ok(Some(new)) = super::read(Path::new("x"), &text, true) {
                new.clone().file::<true>(Path::new("x")).unwrap_or_else(|error| panic!("{error}\n{text}"));
                new.file::<false>(Path::new("x")).unwrap();
            }
        }
    }

    #[test]
    fn what_is_imported_means_the_same_for_every_name(
        names in prop::collection::btree_set("[a-z0-9][a-z0-9._-]{0,8}", 1..4),
        passcode in "[ -~]{1,12}",
        second in "[ -~]{0,12}",
        topic in "[a-z.]{1,12}",
        job in "[a-z%{} '&#:;!-]{1,12}",
        refs in "[ -~]{1,12}",
    ) {
        let refs = regex_lite::escape(&refs);
        let host = |passcode: &str| json!({ ":host": "b", ":login": "u%41", ":passcode": passcode });
        let repos: serde_json::Map<_, _> = names.iter().map(|name| {
            (name.clone(), json!({ "repo": format!("/data/{name}"), "target": "/t", "mode": "atomic", "user": "www-data" }))
        }).collect();
        let projects: serde_json::Map<_, _> = names.iter().map(|name| {
            (name.clone(), json!({ "project": job, "ticket": passcode, "ignore_refs": refs }))
        }).collect();
        let text = serde_saphyr::to_string(&json!({
            "stompconnector": { ":hosts": [host(&passcode), host(&second)] },
            "listen-topic": topic,
            "report-topic": topic,
            "repo-list": repos,
            "jenkins-projects": projects,
        })).unwrap();
        let file = written("old.yaml", &text);
        let config = load(&file.path).unwrap_or_else(|error| panic!("{error}\n{text}"));
        let output = file.folder.path().join("new.yaml");
        import(std::slice::from_ref(&file.path)).unwrap().write(&output, false).unwrap();
        prop_assert_eq!(meaning(&load(&output).unwrap()), meaning(&config), "{}", text);
    }
}
