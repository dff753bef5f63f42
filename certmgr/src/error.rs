//! Why a source gave nothing that can serve: which file, for what reason, and what to do.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use certstore::{BundleError, Part, ProveError};

use crate::config::FileSource;

/// A failed attempt to get a pair from its source. Trying again is always lawful, and the task does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// The files that it is about; never empty.
    pub files: Vec<PathBuf>,
    /// What is wrong.
    pub reason: Reason,
}

/// What is wrong with a pair or with the way to it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// A file could not be read.
    #[error("cannot be read: {text}")]
    Io {
        /// The kind of error.
        kind: io::ErrorKind,
        /// The system's words.
        text: String,
    },
    /// The file system did not answer.
    #[error("cannot be read: the file system gave no answer within {} s", .0.as_secs())]
    Hanging(Duration),
    /// The files were replaced each time while they were being read.
    #[error("cannot be read: the files keep changing")]
    Moving,
    /// Our own fault; what was read is not to blame.
    #[error("an internal error ended the attempt: {0}")]
    Internal(String),
    /// What was read is no usable pair.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The pair may not serve, here and now.
    #[error(transparent)]
    Prove(#[from] ProveError),
}

impl Error {
    pub(crate) fn io(file: &Path, error: &io::Error) -> Self {
        Self {
            files: vec![file.to_owned()],
            reason: Reason::Io {
                kind: error.kind(),
                text: error.to_string(),
            },
        }
    }

    pub(crate) fn bundle(source: &FileSource, error: BundleError) -> Self {
        let files = match error.part() {
            Part::Chain => vec![source.chain.clone()],
            Part::Key => vec![source.key.clone()],
            Part::Both => source.both(),
        };
        Self {
            files,
            reason: Reason::Bundle(error),
        }
    }

    pub(crate) fn prove(source: &FileSource, error: ProveError) -> Self {
        Self {
            files: vec![source.chain.clone()],
            reason: Reason::Prove(error),
        }
    }

    /// Whether the files themselves could not be had, as against their content being refused.
    pub fn is_unreadable(&self) -> bool {
        match self.reason {
            Reason::Io { .. } | Reason::Hanging(_) | Reason::Moving | Reason::Internal(_) => true,
            Reason::Bundle(_) | Reason::Prove(_) => false,
        }
    }

    /// What the operator can do about it, in one sentence.
    pub fn remedy(&self) -> &'static str {
        match &self.reason {
            Reason::Io {
                kind: io::ErrorKind::NotFound,
                ..
            } => "check the path, or put the file there",
            Reason::Io {
                kind: io::ErrorKind::PermissionDenied,
                ..
            } => "let the user that h2gate runs as read the file and search its directories",
            Reason::Io {
                kind: io::ErrorKind::IsADirectory | io::ErrorKind::InvalidInput,
                ..
            } => "give the path of the PEM file itself",
            Reason::Io { .. } | Reason::Hanging(_) => "check the file system that the path is on",
            Reason::Moving => "replace the pair less often, or by renaming whole files",
            Reason::Internal(_) => "please report it, with the log",
            Reason::Bundle(BundleError::NoCertificate { found })
                if found.to_string().contains("CERTIFICATE REQUEST") =>
            {
                "this is a certificate signing request, not a certificate: give the chain that the CA sent back for it"
            }
            Reason::Bundle(error) => error.remedy(),
            Reason::Prove(error) => error.remedy(),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, file) in self.files.iter().enumerate() {
            let between = if index == 0 { "" } else { ", " };
            write!(f, "{between}{}", file.display())?;
        }
        write!(f, ": {} ({})", self.reason, self.remedy())
    }
}

impl std::error::Error for Error {}

impl FileSource {
    pub(crate) fn both(&self) -> Vec<PathBuf> {
        let mut files = vec![self.chain.clone()];
        if self.key != self.chain {
            files.push(self.key.clone());
        }
        files
    }
}
