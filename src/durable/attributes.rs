//! Access lists and other extended attributes of a file that is replaced: the new one has them too.

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::path::Path;

use rustix::fs::{XattrFlags, fgetxattr, fremovexattr, fsetxattr, lgetxattr, llistxattr};
use rustix::io::Errno;

/// What `setfacl` sets.
const ACCESS: &CStr = c"system.posix_acl_access";
/// The kernel takes no longer value, and gives no longer list.
const LONGEST: usize = 64 * 1024;
/// Of the content and of the inode: the kernel makes the first two itself, and nobody lends a program's rights to new content.
const OF_CONTENT: [&[u8]; 3] = [b"security.ima", b"security.evm", b"security.capability"];

/// Gives `draft` what `model` has; `true`: it had an access list that `model` has not, and its mode is to be set anew. Where
/// the file system knows no attributes, there is nothing to do.
///
/// One below `security.` that this user may not set is told in the log: to keep the old file, with logins that are over in it,
/// would be worse.
///
/// # Errors
/// One that can't be kept.
pub(super) fn copy(model: &Path, draft: &File) -> io::Result<bool> {
    let mut value = vec![0; LONGEST];
    let mut has_list = false;
    for name in names(model)? {
        let is_list = name.as_c_str() == ACCESS;
        let length = match lgetxattr(model, name.as_c_str(), value.as_mut_slice()) {
            Ok(length) => length,
            // Taken away meanwhile.
            Err(Errno::NODATA) => continue,
            Err(errno) => return Err(failed("read", &name, errno)),
        };
        has_list |= is_list;
        if has(draft, &name, &value[..length]) {
            continue;
        }
        match fsetxattr(draft, name.as_c_str(), &value[..length], XattrFlags::empty()) {
            Ok(()) => {}
            Err(errno @ (Errno::PERM | Errno::ACCESS | Errno::OPNOTSUPP))
                if name.to_bytes().starts_with(b"security.") =>
            {
                log::warn!("{}: {}", model.display(), failed("kept", &name, errno));
            }
            Err(errno) => return Err(failed("kept", &name, errno)),
        }
    }
    if has_list {
        return Ok(false);
    }
    match fremovexattr(draft, ACCESS) {
        Ok(()) => Ok(true),
        Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::NOSYS) => Ok(false),
        Err(errno) => Err(failed("taken away", ACCESS, errno)),
    }
}

fn has(draft: &File, name: &CStr, value: &[u8]) -> bool {
    let mut own = vec![0; LONGEST];
    fgetxattr(draft, name, own.as_mut_slice()).is_ok_and(|length| own[..length] == *value)
}

/// Those that belong to the file rather than to its content.
fn names(model: &Path) -> io::Result<Vec<std::ffi::CString>> {
    let mut list = vec![0; LONGEST];
    let length = match llistxattr(model, list.as_mut_slice()) {
        Ok(length) => length,
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => 0,
        Err(errno) => return Err(errno.into()),
    };
    let is_kept = |name: &&[u8]| {
        *name == ACCESS.to_bytes()
            || name.starts_with(b"user.")
            || name.starts_with(b"security.") && !OF_CONTENT.contains(name)
    };
    let names = list[..length].split(|octet| *octet == 0).filter(|name| !name.is_empty()).filter(is_kept);
    Ok(names.filter_map(|name| std::ffi::CString::new(name).ok()).collect())
}

fn failed(what: &str, name: &CStr, errno: Errno) -> io::Error {
    let error = io::Error::from(errno);
    io::Error::new(error.kind(), format!("its attribute {} can't be {what}: {error}", name.to_string_lossy()))
}
