//! Progress bars: the only place that draws them.

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use ondisk::{Progress, Task, Unit};
use std::time::Duration;

/// Draws a bar for each running task.
#[derive(Debug)]
pub(crate) struct Bars(MultiProgress);

impl Bars {
    pub(crate) fn new() -> Self {
        Self(MultiProgress::new())
    }
}

#[derive(Debug)]
struct Bar(ProgressBar);

const BYTES: &str = "{msg:>20} {wide_bar} {binary_bytes:>10}/{binary_total_bytes:10} {binary_bytes_per_sec:>12} {eta:>4}";
const ITEMS: &str = "{msg:>20} {wide_bar} {pos}/{len}";
const UNKNOWN: &str = "{msg:>20} {spinner} {pos}";

impl Progress for Bars {
    fn start(&self, name: &str, unit: Unit, total: Option<u64>) -> Box<dyn Task> {
        let template = match (unit, total) {
            (_, None) => UNKNOWN,
            (Unit::Bytes, Some(_)) => BYTES,
            (Unit::Items, Some(_)) => ITEMS,
        };
        let style = ProgressStyle::with_template(template).expect("the templates are tested");
        let bar = total.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
        let bar = self
            .0
            .add(bar.with_style(style).with_message(name.to_owned()));
        bar.enable_steady_tick(Duration::from_millis(200));
        Box::new(Bar(bar))
    }
}

impl Task for Bar {
    fn advance(&self, units: u64) {
        self.0.inc(units);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_template_is_understood() {
        for (unit, total) in [
            (Unit::Bytes, Some(1)),
            (Unit::Items, Some(1)),
            (Unit::Items, None),
        ] {
            Bars::new().start("test", unit, total).advance(1);
        }
    }
}
