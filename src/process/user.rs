//! Another user: to run as, to become, or to have the rights of for a while.

use std::ffi::{CString, OsStr};
use std::io;
use std::path::PathBuf;

use nix::unistd::{Gid, Uid};

use super::Error;

/// Folders of whoever starts this: git, for one, gives up on a configuration folder that it may not read.
pub(super) const OF_ANOTHER: [&str; 5] =
    ["XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_RUNTIME_DIR"];

/// Another user to run as.
#[derive(Debug, Clone)]
pub struct User {
    /// Login name.
    pub name: String,
    /// User id.
    pub uid: Uid,
    /// Primary group.
    pub gid: Gid,
    /// Supplementary groups, as initgroups would set them.
    pub groups: Vec<Gid>,
    /// HOME.
    pub home: PathBuf,
}

impl User {
    /// Looks up whom to become; `None` when that is who runs already, or when `name` is `None`.
    ///
    /// # Errors
    /// [`Error::NoUser`], [`Error::NotRoot`].
    pub fn find(name: Option<&str>) -> Result<Option<User>, Error> {
        let Some(name) = name else { return Ok(None) };
        let no_user = || Error::NoUser(name.to_owned());
        let found = nix::unistd::User::from_name(name).ok().flatten().ok_or_else(no_user)?;
        let me = nix::unistd::geteuid();
        if found.uid == me {
            return Ok(None);
        }
        if !me.is_root() {
            let me = nix::unistd::User::from_uid(me).ok().flatten().map_or_else(|| me.to_string(), |user| user.name);
            return Err(Error::NotRoot { user: name.to_owned(), me });
        }
        let c_name = CString::new(name).map_err(|_| no_user())?;
        let groups = nix::unistd::getgrouplist(&c_name, found.gid).map_err(|_| no_user())?;
        Ok(Some(User { name: found.name, uid: found.uid, gid: found.gid, groups, home: found.dir }))
    }

    /// Makes this whole process that user's, for good, `HOME` and its like included. To be called while there is one
    /// thread.
    ///
    /// # Errors
    /// Only root may.
    pub fn switch(&self) -> io::Result<()> {
        nix::unistd::setgroups(&self.groups)?;
        nix::unistd::setgid(self.gid)?;
        nix::unistd::setuid(self.uid)?;
        // SAFETY: there is one thread, so nobody reads the environment meanwhile.
        unsafe {
            for (key, value) in self.variables() {
                std::env::set_var(key, value);
            }
            for key in OF_ANOTHER {
                std::env::remove_var(key);
            }
        }
        Ok(())
    }

    /// What the user's programs look for in their environment.
    pub(super) fn variables(&self) -> [(&'static str, &OsStr); 3] {
        [("HOME", self.home.as_os_str()), ("USER", self.name.as_ref()), ("LOGNAME", self.name.as_ref())]
    }

    /// Does `work` with that user's rights on files, in this thread alone, so that root lays and removes nothing where the
    /// user could have laid a link. What `work` runs is still to be given this user.
    ///
    /// # Errors
    /// Only root may.
    pub fn with_rights<T>(&self, work: impl FnOnce() -> T) -> io::Result<T> {
        let mine = nix::unistd::getgroups()?;
        let _back = Rights { user: nix::unistd::geteuid(), group: nix::unistd::getegid(), groups: mine };
        set_thread_groups(&self.groups)?;
        // Source: setfsuid(2). They tell no error, only what was set before: so asked again.
        nix::unistd::setfsgid(self.gid);
        nix::unistd::setfsuid(self.uid);
        if nix::unistd::setfsuid(self.uid) != self.uid || nix::unistd::setfsgid(self.gid) != self.gid {
            return Err(io::Error::from_raw_os_error(libc::EPERM));
        }
        Ok(work())
    }
}

/// Does `work` with root's rights on files again, inside [`User::with_rights`].
///
/// # Errors
/// This is no process of root's.
pub fn as_root<T>(work: impl FnOnce() -> T) -> io::Result<T> {
    let before = nix::unistd::setfsuid(Uid::from_raw(0));
    let _back = Fsuid(before);
    if nix::unistd::setfsuid(Uid::from_raw(0)).is_root() {
        Ok(work())
    } else {
        Err(io::Error::from_raw_os_error(libc::EPERM))
    }
}

struct Fsuid(Uid);

impl Drop for Fsuid {
    fn drop(&mut self) {
        nix::unistd::setfsuid(self.0);
    }
}

/// A thread's rights on files, to be given back.
struct Rights {
    user: Uid,
    group: Gid,
    groups: Vec<Gid>,
}

impl Drop for Rights {
    fn drop(&mut self) {
        nix::unistd::setfsuid(self.user);
        nix::unistd::setfsgid(self.group);
        // It was allowed a moment ago; and a thread with too few groups can do too little, not too much.
        let _ = set_thread_groups(&self.groups);
    }
}

/// The wrapper of the C library would set them for all threads.
fn set_thread_groups(groups: &[Gid]) -> io::Result<()> {
    let groups: Vec<libc::gid_t> = groups.iter().map(|gid| gid.as_raw()).collect();
    // SAFETY: the vector lives until the call has returned.
    let set = unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) };
    if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
