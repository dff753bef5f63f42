//! The contents of documents: JSON with the number of its format, read and written in one way.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{Document, Store};
use crate::blocking;

/// Reason why the content of a document cannot be used. The text shows nothing of the content.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DocumentError {
    /// A newer h2gate has written it.
    #[error("has format {format}, and this h2gate knows {known}")]
    Newer { format: u32, known: u32 },
    /// No h2gate writes such a document, or it does not meet the present demand.
    #[error("{0}")]
    Broken(String),
}

impl From<String> for DocumentError {
    fn from(text: String) -> Self {
        Self::Broken(text)
    }
}

impl From<serde_json::Error> for DocumentError {
    fn from(error: serde_json::Error) -> Self {
        // The words of the error may hold content.
        Self::Broken(format!(
            "is broken at line {} column {}",
            error.line(),
            error.column()
        ))
    }
}

/// Reason why a document cannot be loaded.
#[derive(Debug)]
pub(crate) enum LoadError {
    /// The disk does not give it, or a newer program wrote it: it may be whole.
    Unread { text: String, remedy: &'static str },
    /// Nothing of it can be used.
    Broken(String),
}

impl dyn Store + '_ {
    /// Reads a document and parses it on the blocking pool. `None`: there is no such document.
    pub(crate) async fn load<T: Send + 'static>(
        &self,
        document: &Document,
        parse: fn(&[u8]) -> Result<T, DocumentError>,
    ) -> Result<Option<T>, LoadError> {
        let kept = |text: &str| format!("what `state_dir` keeps of it {text}");
        let read = self.read(document).await.map_err(|error| LoadError::Unread {
            text: kept(&format!("cannot be read: {error}")),
            remedy: "repair the disk, or let h2gate read the file",
        });
        let Some(bytes) = read? else { return Ok(None) };
        let parsed = blocking::prove(move || parse(&bytes)).await;
        match parsed.unwrap_or_else(|panicked| Err(panicked.to_string().into())) {
            Ok(content) => Ok(Some(content)),
            Err(newer @ DocumentError::Newer { .. }) => Err(LoadError::Unread {
                text: kept(&newer.to_string()),
                remedy: "run the newer h2gate again, or give this one another `state_dir`",
            }),
            Err(DocumentError::Broken(text)) => Err(LoadError::Broken(kept(&text))),
        }
    }
}

/// The part that every format has.
#[derive(Deserialize)]
struct FormatNumber {
    format: u32,
}

/// Decodes a document of any format up to `known`. Of a newer one only its number is read.
pub(crate) fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8], known: u32) -> Result<T, DocumentError> {
    match serde_json::from_slice(bytes)? {
        FormatNumber { format: 0 } => Err(DocumentError::Broken("has no format that h2gate writes".into())),
        FormatNumber { format } if format > known => Err(DocumentError::Newer { format, known }),
        _ => Ok(serde_json::from_slice(bytes)?),
    }
}

/// Encodes a document in lines. `size` is an upper limit for its bytes: no buffer grows, and leaves a part of a key
/// behind.
pub(crate) fn encode<T: Serialize>(
    document: &T,
    size: usize,
) -> Result<Zeroizing<Vec<u8>>, serde_json::Error> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(size));
    serde_json::to_writer_pretty(&mut *bytes, document)?;
    bytes.push(b'\n');
    Ok(bytes)
}

pub(crate) fn encode_base64(bytes: &[u8]) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(bytes.len().div_ceil(3) * 4));
    STANDARD.encode_string(bytes, &mut text);
    text
}

pub(crate) fn decode_base64(text: &str) -> Result<Zeroizing<Vec<u8>>, String> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len()));
    STANDARD
        .decode_vec(text, &mut bytes)
        .map_err(|_| "is not base64".to_owned())?;
    Ok(bytes)
}
