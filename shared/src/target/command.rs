//! A command of our own as the target: found, made ready behind a gate, and let go once the
//! probes are in.

mod child;
mod exec_image;
mod listing;
mod program;
mod user;

use std::io;

use crate::cli::{EXIT_FAILURE, EXIT_NOT_EXECUTABLE, EXIT_NOT_FOUND, EXIT_USAGE};

pub use child::{Child, ChildHandle, Ending};
pub use program::Program;
pub use user::User;

/// Why a command cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// There is no such file, here or on the PATH.
    #[error("{0}: command not found")]
    NotFound(String),
    /// The file is no program.
    #[error("{0}: cannot be executed: {1}")]
    NotExecutable(String, String),
    /// A 32-bit program.
    #[error("{0} is a 32-bit program, and only 64-bit programs can be traced")]
    ThirtyTwoBit(String),
    /// `--user` names nobody.
    #[error("no user is called {0}")]
    NoSuchUser(String),
    /// The system would not do it.
    #[error("{doing}")]
    System {
        /// What was being done.
        doing: String,
        /// Why.
        source: io::Error,
    },
}

impl CommandError {
    /// The exit code of the process, as shells and env(1) have it.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::NotFound(_) => EXIT_NOT_FOUND,
            Self::NotExecutable(..) => EXIT_NOT_EXECUTABLE,
            Self::ThirtyTwoBit(_) | Self::NoSuchUser(_) => EXIT_USAGE,
            Self::System { .. } => EXIT_FAILURE,
        }
    }
}

#[cfg(test)]
mod tests;
