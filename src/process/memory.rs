//! Memory that a process which stays does not need.

/// Lets go of the program's code as far as it was needed for the start alone. What is needed again the kernel maps again
/// from its cache. The pages are there once for all processes, but they count for each: a node that idles is to look as small
/// as it is.
pub fn let_go_of_code() {
    let (Ok(maps), Ok(exe)) = (std::fs::read_to_string("/proc/self/maps"), std::fs::read_link("/proc/self/exe")) else {
        return;
    };
    for line in maps.lines().filter(|line| line.contains(" r-xp ") && line.ends_with(&*exe.to_string_lossy())) {
        let range = line.split(' ').next().and_then(|range| range.split_once('-'));
        let number = |text: &str| usize::from_str_radix(text, 16).ok();
        let Some((Some(from), Some(to))) = range.map(|(from, to)| (number(from), number(to))) else { continue };
        // SAFETY: a mapping of a file that nobody writes to (r-x, no relocations in code): dropped pages are read again, with
        // the same content, by whoever steps on them; madvise(2), MADV_DONTNEED.
        unsafe { libc::madvise(from as *mut libc::c_void, to.saturating_sub(from), libc::MADV_DONTNEED) };
    }
}
