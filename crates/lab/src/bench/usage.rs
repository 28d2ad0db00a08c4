//! CPU time and memory of processes on this machine, as `/proc` tells them.

use std::fs;
use std::time::Duration;

use serde::Serialize;

/// A process with all that it started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Usage {
    pub cpu: Duration,
    /// Resident.
    pub memory_bytes: u64,
}

/// `/proc` counts CPU time in hundredths of a second on every Linux.
/// <https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html>
const TICK: Duration = Duration::from_millis(10);

/// What a process and its children have used. `None` where there is no such process, or no `/proc`.
pub fn usage(pid: u32) -> Option<Usage> {
    let mut all = Vec::new();
    for entry in fs::read_dir("/proc").ok()? {
        let name = entry.ok()?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        // a process may end while we look
        let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
        if let Some(stat) = Stat::parse(&stat) {
            all.push((pid, stat));
        }
    }
    let mut family = vec![pid];
    let mut used: Option<Usage> = None;
    while let Some(member) = family.pop() {
        for (pid, stat) in &all {
            if stat.parent == member {
                family.push(*pid);
            }
            if *pid == member {
                let used = used.get_or_insert_default();
                used.cpu += TICK * stat.ticks;
                used.memory_bytes += memory_bytes(*pid);
            }
        }
    }
    used
}

/// What a process has used by itself, its children left out.
pub fn usage_alone(pid: u32) -> Option<Usage> {
    let stat = Stat::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?;
    Some(Usage { cpu: TICK * stat.ticks, memory_bytes: memory_bytes(pid) })
}

/// What a process is called: 15 characters of its program's name.
pub fn name(pid: u32) -> Option<String> {
    Some(fs::read_to_string(format!("/proc/{pid}/comm")).ok()?.trim().to_owned())
}

/// Load average of the last minute.
pub fn load_average() -> Option<f64> {
    fs::read_to_string("/proc/loadavg").ok()?.split(' ').next()?.parse().ok()
}

/// CPU time of all processes since the machine started, without idling and waiting for disks.
pub fn machine_cpu() -> Option<Duration> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    let ticks: Vec<u64> =
        stat.lines().next()?.split(' ').filter_map(|field| field.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal
    let busy = ticks.iter().take(8).enumerate().filter(|(at, _)| !matches!(at, 3 | 4));
    Some(TICK * u32::try_from(busy.map(|(_, ticks)| ticks).sum::<u64>()).ok()?)
}

fn memory_bytes(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = resident.and_then(|text| text.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

/// What matters of `/proc/PID/stat`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stat {
    parent: u32,
    ticks: u32,
}

impl Stat {
    fn parse(text: &str) -> Option<Self> {
        // the name stands in parentheses, and may hold spaces and parentheses itself
        let fields: Vec<&str> = text.rsplit_once(") ")?.1.split(' ').collect();
        let number = |at: usize| fields.get(at)?.parse::<u32>().ok();
        // the third field is the first after the name; parent is the 4th, utime and stime 14th and 15th
        Some(Self { parent: number(1)?, ticks: number(11)? + number(12)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_line_is_read_whatever_the_name() {
        let line = "12 (a ) b (c)) S 7 12 12 0 -1 4194560 100 0 0 0 250 50 9 9 20 0 1 0 5 6 7";
        assert_eq!(Stat::parse(line), Some(Stat { parent: 7, ticks: 300 }));
        assert_eq!(Stat::parse("12 (a"), None);
    }

    #[test]
    fn a_process_counts_its_children_and_itself() {
        let own = std::process::id();
        let before = usage(own).unwrap();
        assert!(before.memory_bytes > 0, "{before:?}");
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let both = usage(own).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(both.memory_bytes > before.memory_bytes, "{before:?} {both:?}");
        assert_eq!(usage(u32::MAX), None);
    }
}
