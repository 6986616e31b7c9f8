//! The machine and the commit that a run is made on.

use sysinfo::{CpuRefreshKind, MemoryRefreshKind, RefreshKind, System};
use tare_evidence::Machine;
use xshell::{Shell, cmd};

use crate::workspace;

/// The machine, and its load at this moment.
pub fn machine() -> Machine {
    let facts = RefreshKind::nothing().with_cpu(CpuRefreshKind::nothing()).with_memory(MemoryRefreshKind::everything());
    let system = System::new_with_specifics(facts);
    let name = System::long_os_version().unwrap_or_else(|| "unknown system".into());
    let kernel = System::kernel_version().unwrap_or_default();
    Machine {
        system: format!("{name}, kernel {kernel}"),
        cpu: system.cpus().first().map_or_else(|| "unknown processor".into(), |cpu| cpu.brand().trim().to_owned()),
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        memory_bytes: system.total_memory(),
        load: System::load_average().one,
    }
}

/// The commit, and whether there are changes beyond it; nothing where there is no git or no repository.
pub fn commit() -> Option<(String, bool)> {
    let shell = Shell::new().ok()?;
    shell.change_dir(workspace::root());
    let commit = cmd!(shell, "git rev-parse HEAD").quiet().ignore_stderr().read().ok()?;
    let changes = cmd!(shell, "git status --porcelain").quiet().ignore_stderr().read().ok()?;
    Some((commit, !changes.is_empty()))
}
