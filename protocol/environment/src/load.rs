//! How busy the machine is.

use std::num::NonZero;
use std::thread::available_parallelism;

/// The runnable tasks of the last minute for each processor, in thousandths: 1000 is a machine that is just busy.
pub(crate) fn load_permille() -> u32 {
    let [last_minute, ..] = rustix::system::sysinfo().loads;
    let processors = available_parallelism().map_or(1, NonZero::get);
    #[allow(
        clippy::useless_conversion,
        reason = "it is a word of the machine, which may have 32 bits"
    )]
    let last_minute = u64::from(last_minute);
    permille(last_minute, u64::try_from(processors).unwrap_or(1))
}

/// The kernel's loads have 16 bits behind the point.
fn permille(load: u64, processors: u64) -> u32 {
    let per_processor = (load.saturating_mul(1_000) >> 16) / processors.max(1);
    u32::try_from(per_processor).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_task_on_each_processor_is_a_thousand() {
        assert_eq!(permille(4 << 16, 4), 1_000);
        assert_eq!(permille(1 << 16, 4), 250);
        assert_eq!(permille(0, 4), 0);
        assert_eq!(permille(u64::MAX, 1), u32::MAX);
    }
}
