//! Access lists that people gave to the file, with the real `setfacl` and `getfacl`.

use super::*;
use crate::sandbox::FAILCAKE;

/// A node whose file is there, with one line of a person.
fn world() -> World {
    let world = World::at(Sandbox::new(), "stomp://127.0.0.1:1".to_owned(), "x", None);
    world.node("web01", &world.entry("web01", "preview", "haproxy", ""));
    world.sandbox.write("web01/preview.access", "# people\n");
    world.sandbox.program("chmod", ["640", "web01/preview.access"]).run().success();
    world
}

fn set(world: &World, words: &[&str]) {
    world.sandbox.program("setfacl", words).run().success();
}

fn list(world: &World, file: &str) -> String {
    let said = world.sandbox.program("getfacl", ["--omit-header", "--numeric", file]).run().success().text();
    said.trim_end().to_owned()
}

/// Replaces the file: its header is written.
fn replace(world: &World) {
    use std::os::unix::fs::MetadataExt as _;
    let inode = || std::fs::metadata(world.file("web01", "preview")).unwrap().ino();
    let before = inode();
    world.access("web01", &["expire"]).success().stderr("");
    assert!(world.text("web01", "preview").ends_with("userlist preview\n"), "{}", world.text("web01", "preview"));
    assert_ne!(before, inode());
}

#[test]
fn what_setfacl_gave_stays_when_the_file_is_replaced() {
    let world = world();
    // More than the mode shows: the group may do less than the mask, and one user less than the group.
    set(&world, &["-m", "u:1234:r,u:1235:-,g::-,g:4321:r", "web01/preview.access"]);
    let before = list(&world, "web01/preview.access");
    assert!(
        before.contains("user:1234:r--") && before.contains("group::---") && before.contains("mask::r--"),
        "{before}"
    );
    replace(&world);
    assert_eq!(list(&world, "web01/preview.access"), before);
    // And again, with what it has now.
    set(&world, &["-x", "u:1234", "web01/preview.access"]);
    let before = list(&world, "web01/preview.access");
    world.sandbox.write("web01/preview.access", "# people\n");
    replace(&world);
    assert_eq!(list(&world, "web01/preview.access"), before);
}

#[test]
fn a_file_without_a_list_gets_none_of_its_folder() {
    let world = world();
    set(&world, &["-d", "-m", "u:1234:rw", "web01"]);
    let before = list(&world, "web01/preview.access");
    assert_eq!(before, "user::rw-\ngroup::r--\nother::---");
    replace(&world);
    assert_eq!(list(&world, "web01/preview.access"), before);
    // A new one is as the folder has it.
    std::fs::remove_file(world.file("web01", "preview")).unwrap();
    world.access("web01", &["expire"]).success();
    assert!(list(&world, "web01/preview.access").contains("user:1234:r"), "{}", list(&world, "web01/preview.access"));
}

#[test]
fn one_that_can_not_be_kept_is_told_and_the_old_file_stays() {
    let world = world();
    set(&world, &["-m", "u:1234:r", "web01/preview.access"]);
    let expire = [FAILCAKE, "-c", "web01.yaml", "access", "expire"];
    let strace = ["-qq", "-o", "trace", "-e", "trace=fsetxattr", "-e", "inject=fsetxattr:error=ENOSPC"];
    world
        .sandbox
        .program("strace", [&strace[..], &expire].concat())
        .run()
        .code(1)
        .stderr_has("preview.access: its attribute system.posix_acl_access can't be kept: No space left on device");
    assert_eq!(world.text("web01", "preview"), "# people\n");
    assert!(list(&world, "web01/preview.access").contains("user:1234:r--"));
    replace(&world);
    assert!(list(&world, "web01/preview.access").contains("user:1234:r--"));
}

#[test]
fn a_file_system_without_lists_is_none_the_worse() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("not run: needs root to mount a file system");
        return;
    }
    let world = world();
    let folder = world.sandbox.path("").display().to_string();
    let run = format!(
        "cd {folder} && mv web01 template && mkdir web01 && mount -t ramfs ramfs web01 && cp -a template/. web01/ || exit 90
         setfacl -m u:1234:r web01/preview.access 2>/dev/null && exit 91
         {FAILCAKE} -c web01.yaml access expire || exit 92
         stat -c %a web01/preview.access && cat web01/preview.access"
    );
    let ran = world.sandbox.program("unshare", ["-m", "sh", "-c", &run]).run().success().stderr("");
    ran.stdout("640\n# people\nuserlist preview\n");
}
