//! What the generator needs of the system: CPU time of threads, a precise wait, and a socket that takes
//! datagrams one by one.

use std::fs;
use std::io;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::time::Duration;

/// What threads used so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Time on a processor, in user space and in the kernel; what the kernel does on loopback to hand a
    /// datagram to its receiver is in it.
    pub cpu: Duration,
    /// Times that they gave the processor up to wait.
    pub waits: u64,
}

impl std::ops::Sub for Usage {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            cpu: self.cpu.saturating_sub(before.cpu),
            waits: self.waits.saturating_sub(before.waits),
        }
    }
}

/// What this process' threads with names that start with `prefix` used.
///
/// # Errors
/// If the system does not tell: this needs Linux with `/proc`.
pub fn usage_of(prefix: &str) -> io::Result<Usage> {
    let mut sum = Usage::default();
    for entry in fs::read_dir("/proc/self/task")? {
        let folder = entry?.path();
        let read = |name: &str| fs::read_to_string(folder.join(name));
        if read("comm")?.starts_with(prefix) {
            let used = parse(&read("schedstat")?, &read("status")?);
            let used = used.ok_or_else(|| io::Error::other("no CPU time in /proc"))?;
            sum.cpu += used.cpu;
            sum.waits += used.waits;
        }
    }
    Ok(sum)
}

/// What this thread used.
///
/// # Errors
/// As [`usage_of`].
pub fn own_usage() -> io::Result<Usage> {
    let read = |name: &str| fs::read_to_string(format!("/proc/thread-self/{name}"));
    parse(&read("schedstat")?, &read("status")?).ok_or_else(|| io::Error::other("no CPU time in /proc"))
}

/// Nanoseconds on a processor come first in `schedstat`.
fn parse(schedstat: &str, status: &str) -> Option<Usage> {
    let cpu = schedstat.split_whitespace().next()?.parse().ok()?;
    let waits = status
        .lines()
        .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
    Some(Usage {
        cpu: Duration::from_nanos(cpu),
        waits: waits.trim().parse().ok()?,
    })
}

/// Resident memory of this process in bytes.
///
/// # Errors
/// As [`usage_of`].
pub fn resident() -> io::Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let kib = status.lines().find_map(|line| {
        let words = line.strip_prefix("VmRSS:")?;
        words.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()
    });
    kib.map(|kib| kib * 1024)
        .ok_or_else(|| io::Error::other("no memory in /proc"))
}

/// Waits until a datagram is there, at most `timeout`.
///
/// # Errors
/// What the system says.
#[expect(unsafe_code, reason = "ppoll(2) has no safe form in the standard library")]
pub fn wait(socket: &UdpSocket, timeout: Duration) -> io::Result<()> {
    let mut entry = libc::pollfd {
        fd: socket.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    let timeout = libc::timespec {
        tv_sec: libc::time_t::try_from(timeout.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: timeout.subsec_nanos().into(),
    };
    // SAFETY: one valid pollfd of an open descriptor, a valid time, no signal mask.
    let count = unsafe { libc::ppoll(&raw mut entry, 1, &raw const timeout, std::ptr::null()) };
    match count {
        0.. => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Lets the kernel hand datagrams over one by one: a sender's runs are then cut up in the kernel, as a
/// network card would do, and not skipped.
///
/// # Errors
/// What the system says.
#[expect(unsafe_code, reason = "UDP_GRO has no safe form in the standard library")]
pub fn receive_singly(socket: &UdpSocket) -> io::Result<()> {
    let off: libc::c_int = 0;
    // SAFETY: the value is a valid int of the given size, and the descriptor is open.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_UDP,
            libc::UDP_GRO,
            (&raw const off).cast(),
            size_of_val(&off) as libc::socklen_t,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
