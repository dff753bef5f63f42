//! Notices that a file was changed: written, replaced by a rename, or reached through a moved symbolic link.

use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// More than is ever accepted as a configuration.
const MAX_BYTES: u64 = 2 << 20;

/// The state of a file, to tell a change without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    length: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// A file that is looked at again and again.
#[derive(Debug)]
pub(crate) struct FileWatch {
    path: PathBuf,
    /// Of the contents that were last reported.
    reported: Option<Stamp>,
    contents: Vec<u8>,
    /// A stamp seen once; it counts when it is seen again, so that a file is not read half written.
    pending: Option<Stamp>,
    /// Looks in a row that found no file.
    looks_without: u32,
}

/// The result of a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    /// Nothing new, or the same contents under a new stamp, or still no file.
    Same,
    /// It moved since the last look; look again soon.
    Moving,
    /// New contents, at rest.
    Changed,
    /// The file is gone or cannot be read; reported once until it is back.
    Gone,
}

impl FileWatch {
    /// Takes the file as it is now for known.
    pub(crate) fn new(path: &Path) -> Self {
        let mut watch = Self {
            path: path.to_owned(),
            reported: None,
            contents: Vec::new(),
            pending: None,
            looks_without: 0,
        };
        watch.known();
        watch
    }

    /// Takes the file as it is now for known.
    pub(crate) fn known(&mut self) {
        self.reported = stamp(&self.path).ok();
        self.contents = read(&self.path).unwrap_or_default();
        self.pending = None;
    }

    /// Looks once.
    pub(crate) fn look(&mut self) -> Look {
        let Ok(now) = stamp(&self.path) else {
            return self.absent();
        };
        if self.reported == Some(now) {
            self.pending = None;
            self.looks_without = 0;
            return Look::Same;
        }
        if self.pending.replace(now) != Some(now) {
            return Look::Moving;
        }
        let Ok(contents) = read(&self.path) else {
            // It keeps its pending stamp: each further look comes here again until it can be read.
            return self.absent();
        };
        self.pending = None;
        self.looks_without = 0;
        self.reported = Some(now);
        if contents == self.contents {
            return Look::Same;
        }
        self.contents = contents;
        Look::Changed
    }

    /// A file that is missing is being replaced, or was deleted by mistake: what runs goes on.
    fn absent(&mut self) -> Look {
        self.looks_without = self.looks_without.saturating_add(1);
        match self.looks_without {
            1 => Look::Moving,
            2 => Look::Gone,
            _ => Look::Same,
        }
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    // Opening a pipe would wait for its writer.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut contents = Vec::new();
    fs::File::open(path)?.take(MAX_BYTES).read_to_end(&mut contents)?;
    Ok(contents)
}

fn stamp(path: &Path) -> io::Result<Stamp> {
    let metadata = fs::metadata(path)?;
    Ok(Stamp {
        device: metadata.dev(),
        inode: metadata.ino(),
        length: metadata.len(),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
        changed: (metadata.ctime(), metadata.ctime_nsec()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looks(watch: &mut FileWatch) -> [Look; 3] {
        [watch.look(), watch.look(), watch.look()]
    }

    const ONE_CHANGE: [Look; 3] = [Look::Moving, Look::Changed, Look::Same];

    fn at_rest() -> (tempfile::TempDir, PathBuf, FileWatch) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("h2gate.yaml");
        fs::write(&path, "one").unwrap();
        let watch = FileWatch::new(&path);
        (folder, path, watch)
    }

    #[test]
    fn a_file_at_rest_is_the_same() {
        let (_folder, _path, mut watch) = at_rest();
        assert_eq!(looks(&mut watch), [Look::Same; 3]);
    }

    #[test]
    fn a_write_in_place_is_one_change() {
        let (_folder, path, mut watch) = at_rest();
        fs::write(&path, "other").unwrap();
        assert_eq!(looks(&mut watch), ONE_CHANGE);
    }

    #[test]
    fn a_file_moved_into_place_is_one_change() {
        let (folder, path, mut watch) = at_rest();
        let new = folder.path().join("new");
        fs::write(&new, "two").unwrap();
        fs::rename(&new, &path).unwrap();
        assert_eq!(looks(&mut watch), ONE_CHANGE);
    }

    #[test]
    fn a_moved_symbolic_link_is_one_change() {
        let (folder, path, _) = at_rest();
        let link = folder.path().join("..data");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let mut watch = FileWatch::new(&link);
        fs::write(folder.path().join("two"), "two").unwrap();
        std::os::unix::fs::symlink(folder.path().join("two"), folder.path().join("swap")).unwrap();
        fs::rename(folder.path().join("swap"), &link).unwrap();
        assert_eq!(looks(&mut watch), ONE_CHANGE);
    }

    #[test]
    fn the_same_contents_under_a_new_stamp_are_no_change() {
        let (folder, path, mut watch) = at_rest();
        let new = folder.path().join("new");
        fs::write(&new, "one").unwrap();
        fs::rename(&new, &path).unwrap();
        assert_eq!(looks(&mut watch), [Look::Moving, Look::Same, Look::Same]);
    }

    #[test]
    fn a_missing_file_is_reported_once_and_is_no_change_until_it_is_back() {
        let (_folder, path, mut watch) = at_rest();
        for contents in ["two", "three"] {
            fs::remove_file(&path).unwrap();
            assert_eq!(looks(&mut watch), [Look::Moving, Look::Gone, Look::Same]);
            fs::write(&path, contents).unwrap();
            assert_eq!(looks(&mut watch), ONE_CHANGE);
        }
    }

    #[test]
    fn a_file_that_became_a_pipe_is_reported_as_missing_and_holds_nobody_up() {
        let (folder, path, mut watch) = at_rest();
        let pipe = folder.path().join("pipe");
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, mode).unwrap();
        fs::rename(&pipe, &path).unwrap();
        assert_eq!(
            [watch.look(), watch.look(), watch.look(), watch.look()],
            [Look::Moving, Look::Moving, Look::Gone, Look::Same]
        );
        fs::remove_file(&path).unwrap();
        fs::write(&path, "two").unwrap();
        assert_eq!(looks(&mut watch), ONE_CHANGE);
    }

    #[test]
    fn a_file_that_still_moves_is_not_read() {
        let (_folder, path, mut watch) = at_rest();
        fs::write(&path, "half").unwrap();
        assert_eq!(watch.look(), Look::Moving);
        fs::write(&path, "half and the rest").unwrap();
        assert_eq!(looks(&mut watch), ONE_CHANGE);
    }
}
