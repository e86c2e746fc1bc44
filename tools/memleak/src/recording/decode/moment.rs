//! What holds for the whole process.

use std::time::Duration;

use jiff::Timestamp;
use memtools::process::Resident;

use super::Fault;
use crate::recording::format;
use crate::snapshot::{
    Events, Loss, MappingCalls, Moment, ProbeLoad, ProcessFigures, Processes, ResidentChange,
};

/// The largest figure. Sums of several stay below 2^63.
const MOST: u64 = 1 << 59;

/// A moment of a run that tracked one allocation in so many.
pub fn moment(moment: format::Moment, sample_rate: u64) -> Result<Moment, Fault> {
    let most_scaled = MOST / sample_rate;
    Ok(Moment {
        time: time(moment.time)?,
        elapsed: Duration::from_nanos(moment.elapsed_ns),
        pid: moment.pid,
        events: Events {
            allocs: figure(moment.allocs)?,
            frees: figure(moment.frees)?,
            failed: figure(moment.failed)?,
        },
        mappings: MappingCalls {
            maps: figure(moment.maps)?,
            unmaps: figure(moment.unmaps)?,
            remaps: figure(moment.remaps)?,
        },
        untracked_frees: figure(moment.untracked_frees)?,
        resident: ResidentChange {
            at_attach: moment.resident_at_attach.map(resident).transpose()?,
            now: moment.resident_now.map(resident).transpose()?,
        },
        chunk_overhead: at_most(moment.chunk_overhead, most_scaled)?,
        load: ProbeLoad {
            hits: figure(moment.probe_hits)?,
            hits_per_s: rate(moment.probe_hits_per_s)?,
            cpu_percent: moment.probe_cpu_percent.map(rate).transpose()?,
        },
        loss: loss(&moment.loss.unwrap_or_default())?,
        is_sampled: moment.is_sampled,
        processes: moment.processes.map(processes).transpose()?,
        has_ended: moment.has_ended,
        comm: moment.comm,
    })
}

fn loss(loss: &format::Loss) -> Result<Loss, Fault> {
    Ok(Loss {
        allocs: figure(loss.allocs)?,
        alloc_bytes: figure(loss.alloc_bytes)?,
        missed_frees: figure(loss.missed_frees)?,
        missed_returns: figure(loss.missed_returns)?,
        stacks: figure(loss.stacks)?,
        truncated_stacks: figure(loss.truncated_stacks)?,
        threads: figure(loss.threads)?,
        mapping_events: figure(loss.mapping_events)?,
        trace_events: figure(loss.trace_events)?,
        blind_ms: figure(loss.blind_ms)?,
        skipped_execs: figure(loss.skipped_execs)?,
        skipped_events: figure(loss.skipped_events)?,
        late_processes: figure(loss.late_processes)?,
        unseen_processes: figure(loss.unseen_processes)?,
        text_mappings: figure(loss.text_mappings)?,
    })
}

fn processes(processes: format::Processes) -> Result<Processes, Fault> {
    let count = processes.pid.len();
    let mut was_detached = processes.was_detached;
    if was_detached.is_empty() {
        was_detached.resize(count.min(format::MOST_PROCESSES), false);
    }
    let lengths = [
        processes.comm.len(),
        processes.has_ended.len(),
        was_detached.len(),
        processes.allocs.len(),
        processes.frees.len(),
        processes.late_ns.len(),
    ];
    if count > format::MOST_PROCESSES || lengths.iter().any(|length| *length != count) {
        return Err(Fault::Damaged("a list of processes is not whole"));
    }
    let mut list = Vec::with_capacity(count);
    for (index, comm) in processes.comm.into_iter().enumerate() {
        list.push(ProcessFigures {
            pid: processes.pid[index],
            comm,
            has_ended: processes.has_ended[index],
            was_detached: was_detached[index],
            allocs: figure(processes.allocs[index])?,
            frees: figure(processes.frees[index])?,
            late: processes.late_ns[index]
                .checked_sub(1)
                .map(Duration::from_nanos),
        });
    }
    Ok(Processes {
        chosen_by: processes.chosen_by,
        list,
    })
}

fn resident(resident: format::Resident) -> Result<Resident, Fault> {
    Ok(Resident {
        total: figure(resident.total)?,
        anonymous: figure(resident.anonymous)?,
        file: figure(resident.file)?,
        shared: figure(resident.shared)?,
    })
}

fn figure(number: u64) -> Result<u64, Fault> {
    at_most(number, MOST)
}

fn at_most(number: u64, most: u64) -> Result<u64, Fault> {
    if number <= most {
        Ok(number)
    } else {
        Err(Fault::Damaged("a figure is out of range"))
    }
}

fn rate(number: f64) -> Result<f64, Fault> {
    if number.is_finite() && number >= 0.0 {
        Ok(number)
    } else {
        Err(Fault::Damaged("a rate is out of range"))
    }
}

/// A time.
pub fn time(time: Option<format::Time>) -> Result<Timestamp, Fault> {
    let time = time.unwrap_or_default();
    Timestamp::new(time.seconds, time.nanoseconds)
        .map_err(|_| Fault::Damaged("a time is out of range"))
}
