//! Packages into a signed repository: failcake, which looks at each to its last octet, archives and tells it, beside
//! reprepro called as cron jobs do, and as nobody who wants to know which one failed can.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::measure::{Contender, once, race};
use crate::place::{FAILCAKE, Place};

/// Of one round; each round brings new versions.
const PACKAGES: usize = 20;
const ROUNDS: usize = 7;

/// Races them.
pub fn run(place: &Place) {
    let broker = place.embedded();
    let home = place.path("gnupg");
    works(place.command("mkdir").args(["-m", "700"]).arg(&home));
    let words = ["--batch", "--passphrase", "", "--quick-gen-key", "bench@example.org", "ed25519", "sign", "never"];
    works(place.command("gpg").env("GNUPGHOME", &home).args(words));

    let ours = repository(place, "ours", &home);
    let packages = format!("packages:\n  repository: {}\n  archive: {}\n", ours.display(), archive(place).display());
    let config = place.config("packages", &broker.url, &packages);
    let (looped, batched) = (repository(place, "looped", &home), repository(place, "batched", &home));
    // Built before, and another version in each round: the last that is popped is the newest.
    let ready: Vec<Vec<PathBuf>> = (0..3 * ROUNDS).rev().map(|number| build(place, number / 3 + 1)).collect();
    let ready = std::cell::RefCell::new(ready);
    let next = || ready.borrow_mut().pop().expect("packages of another round");
    let contenders = vec![
        Contender::new("failcake notify-package: looked at, told, kept", || {
            let mut command = place.command(FAILCAKE);
            command.arg("-c").arg(&config).args(["notify-package", "sid"]).args(next()).env("GNUPGHOME", &home);
            once(&mut command, b"")
        }),
        Contender::new("a shell loop around reprepro includedeb", || {
            let script = format!("for f; do reprepro -b {} includedeb sid $f || exit 1; done", looped.display());
            let mut command = place.command("sh");
            once(command.args(["-c", &script, "sh"]).args(next()).env("GNUPGHOME", &home), b"")
        }),
        Contender::new("reprepro includedeb, all at once", || {
            let mut command = place.command("reprepro");
            command.arg("-b").arg(&batched).args(["includedeb", "sid"]).args(next()).env("GNUPGHOME", &home);
            once(&mut command, b"")
        }),
    ];
    race(&format!("{PACKAGES} packages into a signed repository"), ROUNDS, contenders);
    works(place.command("gpgconf").arg("--homedir").arg(&home).args(["--kill", "all"]));
}

fn archive(place: &Place) -> PathBuf {
    let folder = place.path("archive");
    std::fs::create_dir_all(&folder).expect("an archive");
    folder
}

fn repository(place: &Place, name: &str, home: &Path) -> PathBuf {
    let base = place.path(&format!("repository-{name}"));
    std::fs::create_dir_all(base.join("conf")).expect("a repository");
    let text = "Codename: sid\nComponents: main\nArchitectures: amd64\nSignWith: bench@example.org\n";
    std::fs::write(base.join("conf/distributions"), text).expect("its distributions");
    works(place.command("reprepro").arg("-b").arg(&base).args(["export", "sid"]).env("GNUPGHOME", home));
    base
}

/// Packages of 100 kB in a folder of their own.
fn build(place: &Place, version: usize) -> Vec<PathBuf> {
    let folder = place.path(&format!("packages-{}", uuid::Uuid::new_v4()));
    let one = |number: usize| {
        let tree = folder.join("tree");
        std::fs::create_dir_all(tree.join("DEBIAN")).expect("a tree");
        let control = format!(
            "Package: bench{number}\nVersion: {version}\nArchitecture: all\nSection: misc\nPriority: optional\n\
             Maintainer: Bench <bench@example.org>\nDescription: a package\n"
        );
        std::fs::write(tree.join("DEBIAN/control"), control).expect("a control file");
        let noise = (0..25_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes());
        std::fs::write(tree.join("noise"), noise.collect::<Vec<_>>()).expect("content");
        let file = folder.join(format!("bench{number}_{version}_all.deb"));
        works(place.command("dpkg-deb").args(["--root-owner-group", "--build"]).arg(&tree).arg(&file));
        file
    };
    (0..PACKAGES).map(one).collect()
}

fn works(command: &mut Command) {
    assert!(command.status().is_ok_and(|status| status.success()), "{command:?}");
}
