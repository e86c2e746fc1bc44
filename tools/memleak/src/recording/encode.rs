//! Updates as messages.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;
use memtools::process::Resident;
use memtools::stacks::Frame;

use super::{Ending, Header, format};
use crate::snapshot::{Class, Loss, Moment, ProcessFigures, Processes};
use crate::update::{NewRow, RowFigures, Update};

/// Names that are in the recording already.
#[derive(Debug, Default)]
pub struct Encoder {
    names: HashMap<String, u64>,
    /// Those that the next update brings.
    new_names: Vec<String>,
}

impl Encoder {
    /// An update; it follows those that were encoded before.
    pub fn update(&mut self, update: &Update) -> format::Update {
        let frames = self.frames(update);
        format::Update {
            moment: Some(moment(&update.moment)),
            names: std::mem::take(&mut self.new_names),
            frames: (!update.frames.is_empty()).then_some(frames),
            rows: (!update.rows.is_empty()).then(|| rows(&update.rows)),
            figures: (!update.figures.is_empty()).then(|| figures(&update.figures)),
        }
    }

    fn frames(&mut self, update: &Update) -> format::Frames {
        let mut columns = format::Frames::default();
        let mut last = 0;
        for frame in &update.frames {
            // No `..`: a new field has to be thought of here.
            let Frame {
                addr,
                symbol,
                offset,
                module,
                file,
                line,
                inlined,
            } = &**frame;
            columns.addr.push(difference(*addr, &mut last));
            columns.symbol.push(self.optional(symbol.as_deref()));
            let offset = offset.map_or(0, |offset| offset.saturating_add(1));
            columns.offset.push(offset);
            columns.module.push(self.name(module));
            columns.file.push(self.optional(file.as_deref()));
            columns
                .line
                .push(line.map_or(0, |line| u64::from(line) + 1));
            columns.inlined.push(*inlined);
        }
        drop_zeros(&mut columns.symbol);
        drop_zeros(&mut columns.offset);
        drop_zeros(&mut columns.module);
        drop_zeros(&mut columns.file);
        drop_zeros(&mut columns.line);
        drop_zeros(&mut columns.inlined);
        columns
    }

    fn optional(&mut self, name: Option<&str>) -> u64 {
        name.map_or(0, |name| self.name(name) + 1)
    }

    fn name(&mut self, name: &str) -> u64 {
        if let Some(number) = self.names.get(name) {
            return *number;
        }
        let number = self.names.len() as u64;
        self.names.insert(name.to_owned(), number);
        self.new_names.push(name.to_owned());
        number
    }
}

fn rows(rows: &[NewRow]) -> format::Rows {
    let mut columns = format::Rows::default();
    let mut last = 0;
    let mut above: &[_] = &[];
    for row in rows {
        let both = row.frames.iter().rev().zip(above.iter().rev());
        let shared = both.take_while(|(a, b)| a == b).count();
        let own = &row.frames[..row.frames.len() - shared];
        columns.frame_count.push(own.len() as u64);
        columns.shared_count.push(shared as u64);
        columns.class.push(class(row.class));
        let ids = own.iter().map(|id| difference(u64::from(id.0), &mut last));
        columns.frame.extend(ids);
        above = &row.frames;
    }
    drop_zeros(&mut columns.shared_count);
    drop_zeros(&mut columns.class);
    columns
}

fn figures(figures: &[RowFigures]) -> format::Figures {
    let mut columns = format::Figures::default();
    let (mut last_row, mut last_addr) = (0, 0);
    for row in figures {
        push_amounts(&mut columns, row, &mut last_row);
        push_births(&mut columns, row);
        columns.sizes.push(row.sizes.0.len() as u64);
        for (bucket, count) in &row.sizes.0 {
            columns.size_bucket.push(u64::from(*bucket));
            columns.size_count.push(*count);
        }
        columns.blocks.push(row.blocks.len() as u64);
        for block in &row.blocks {
            columns
                .block_addr
                .push(difference(block.addr, &mut last_addr));
            columns.block_size.push(block.size);
        }
    }
    drop_zeros(&mut columns.flags);
    for column in [
        &mut columns.live_bytes,
        &mut columns.live_count,
        &mut columns.young_bytes,
        &mut columns.young_count,
        &mut columns.stale_bytes,
        &mut columns.stale_count,
        &mut columns.allocs,
        &mut columns.first_birth,
        &mut columns.last_birth,
        &mut columns.mean_birth,
        &mut columns.sizes,
        &mut columns.size_count,
        &mut columns.blocks,
        &mut columns.block_size,
        &mut columns.gone_bytes,
    ] {
        drop_zeros(column);
    }
    drop_zeros(&mut columns.unexplained);
    columns
}

fn push_amounts(columns: &mut format::Figures, row: &RowFigures, last_row: &mut u64) {
    let RowFigures {
        row,
        live,
        young,
        fresh,
        allocs,
        alloc_bytes,
        frees,
        births,
        sizes: _,
        is_incomplete,
        blocks: _,
    } = row;
    columns.row.push(difference(u64::from(row.0), last_row));
    let mut flags = 0;
    if *is_incomplete {
        flags |= format::IS_INCOMPLETE;
    }
    if births.is_some() {
        flags |= format::HAS_BIRTHS;
    }
    columns.flags.push(flags);
    columns.live_bytes.push(live.bytes);
    columns.live_count.push(live.count);
    columns.young_bytes.push(young.bytes);
    columns.young_count.push(young.count);
    columns
        .stale_bytes
        .push(live.bytes.wrapping_sub(fresh.bytes));
    columns
        .stale_count
        .push(live.count.wrapping_sub(fresh.count));
    columns.allocs.push(*allocs);
    let gone_bytes = [live.bytes, young.bytes]
        .into_iter()
        .fold(*alloc_bytes, u64::wrapping_sub);
    columns.gone_bytes.push(gone_bytes);
    let unexplained = [*frees, live.count, young.count]
        .into_iter()
        .fold(*allocs, u64::wrapping_sub);
    columns.unexplained.push(unexplained as i64);
}

fn push_births(columns: &mut format::Figures, row: &RowFigures) {
    let (first, last, mean) = row.births.map_or((0, 0, 0), |births| {
        let first = nanoseconds(births.first);
        let after_first = |time| nanoseconds(time).wrapping_sub(first);
        (first, after_first(births.last), after_first(births.mean))
    });
    columns.first_birth.push(first);
    columns.last_birth.push(last);
    columns.mean_birth.push(mean);
}

fn moment(moment: &Moment) -> format::Moment {
    let Moment {
        time: at,
        elapsed,
        pid,
        comm,
        has_ended,
        events,
        mappings,
        untracked_frees,
        resident: memory,
        chunk_overhead,
        load,
        loss: lost,
        is_sampled,
        processes: several,
    } = moment;
    format::Moment {
        time: Some(time(*at)),
        elapsed_ns: nanoseconds(*elapsed),
        pid: *pid,
        comm: comm.clone(),
        has_ended: *has_ended,
        allocs: events.allocs,
        frees: events.frees,
        failed: events.failed,
        maps: mappings.maps,
        unmaps: mappings.unmaps,
        remaps: mappings.remaps,
        untracked_frees: *untracked_frees,
        resident_at_attach: memory.at_attach.map(resident),
        resident_now: memory.now.map(resident),
        chunk_overhead: *chunk_overhead,
        probe_hits: load.hits,
        probe_hits_per_s: load.hits_per_s,
        probe_cpu_percent: load.cpu_percent,
        loss: (*lost != Loss::default()).then(|| loss(lost)),
        processes: several.as_ref().map(processes),
        is_sampled: *is_sampled,
    }
}

fn processes(processes: &Processes) -> format::Processes {
    let mut columns = format::Processes {
        chosen_by: processes.chosen_by.clone(),
        ..format::Processes::default()
    };
    for process in &processes.list {
        let ProcessFigures {
            pid,
            comm,
            has_ended,
            was_detached,
            allocs,
            frees,
            late,
        } = process;
        columns.pid.push(*pid);
        columns.comm.push(comm.clone());
        columns.has_ended.push(*has_ended);
        columns.was_detached.push(*was_detached);
        columns.allocs.push(*allocs);
        columns.frees.push(*frees);
        columns
            .late_ns
            .push(late.map_or(0, |late| nanoseconds(late) + 1));
    }
    if !columns.was_detached.contains(&true) {
        columns.was_detached.clear();
    }
    columns
}

fn resident(resident: Resident) -> format::Resident {
    let Resident {
        total,
        anonymous,
        file,
        shared,
    } = resident;
    format::Resident {
        total,
        anonymous,
        file,
        shared,
    }
}

fn loss(loss: &Loss) -> format::Loss {
    let Loss {
        allocs,
        alloc_bytes,
        missed_frees,
        missed_returns,
        stacks,
        truncated_stacks,
        threads,
        mapping_events,
        trace_events,
        blind_ms,
        skipped_execs,
        text_mappings,
        skipped_events,
        late_processes,
        unseen_processes,
    } = *loss;
    format::Loss {
        allocs,
        alloc_bytes,
        missed_frees,
        missed_returns,
        stacks,
        truncated_stacks,
        threads,
        mapping_events,
        trace_events,
        blind_ms,
        skipped_execs,
        text_mappings,
        skipped_events,
        late_processes,
        unseen_processes,
    }
}

/// A header.
pub fn header(header: &Header) -> format::Header {
    let Header {
        tool_version,
        kernel_release,
        architecture,
        sample_rate,
        min_age,
        is_combined,
        pid,
        comm,
        start,
    } = header;
    format::Header {
        tool_version: tool_version.clone(),
        kernel_release: kernel_release.clone(),
        architecture: architecture.clone(),
        sample_rate: *sample_rate,
        min_age_ms: u64::try_from(min_age.as_millis()).unwrap_or(u64::MAX),
        is_combined: *is_combined,
        pid: *pid,
        comm: comm.clone(),
        start: Some(time(*start)),
    }
}

/// An end.
pub fn end(ending: Ending) -> format::End {
    let reason = match ending {
        Ending::TargetEnded => format::Reason::TargetEnded,
        Ending::Interrupted => format::Reason::Interrupted,
        Ending::Completed => format::Reason::Completed,
        Ending::Detached => format::Reason::Detached,
        Ending::Other => format::Reason::Other,
    };
    format::End {
        reason: reason as i32,
    }
}

fn class(class: Class) -> u64 {
    match class {
        Class::Heap => 0,
        Class::Mmap => 1,
        Class::ThreadStack => 2,
        Class::Arena => 3,
        Class::Tls => 4,
        Class::Slab => 5,
        Class::Pages => 6,
        Class::Percpu => 7,
        Class::Vmalloc => 8,
        Class::Backing => 9,
    }
}

fn time(time: Timestamp) -> format::Time {
    format::Time {
        seconds: time.as_second(),
        nanoseconds: time.subsec_nanosecond(),
    }
}

/// Enough for 584 years.
fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn difference(value: u64, last: &mut u64) -> i64 {
    value.wrapping_sub(std::mem::replace(last, value)) as i64
}

fn drop_zeros<T: Default + PartialEq>(column: &mut Vec<T>) {
    if column.iter().all(|value| *value == T::default()) {
        column.clear();
    }
}
