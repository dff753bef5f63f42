//! The demo's temporary folder: what a person may look at and paste into commands, and the
//! certificates, swapped as Kubernetes swaps a mounted secret.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::authority::Pair;

/// For what the gateway has begun to write into its state directory, on a thread of its own: until then the folder may
/// get new content while it is removed.
const LAST_WRITES: Duration = Duration::from_secs(2);

/// Removed with all its content when dropped.
pub(super) struct Folder {
    root: TempDir,
}

impl Folder {
    pub(super) fn create(ca_pem: &str) -> io::Result<Self> {
        let folder = Self {
            root: tempfile::Builder::new().prefix("h2gate-demo-").tempdir()?,
        };
        fs::write(folder.ca(), ca_pem)?;
        fs::write(folder.proto(), proto::ROUTE_GUIDE_PROTO)?;
        fs::create_dir(folder.certificates())?;
        for name in ["tls.crt", "tls.key"] {
            symlink(Path::new("..data").join(name), folder.certificates().join(name))?;
        }
        Ok(folder)
    }

    pub(super) fn path(&self) -> &Path {
        self.root.path()
    }

    pub(super) fn ca(&self) -> PathBuf {
        self.path().join("ca.pem")
    }

    pub(super) fn proto(&self) -> PathBuf {
        self.path().join("route_guide.proto")
    }

    pub(super) fn config(&self) -> PathBuf {
        self.path().join("h2gate.yaml")
    }

    pub(super) fn certificates(&self) -> PathBuf {
        self.path().join("certs")
    }

    /// Puts a pair in place in one step: a new folder beside the old one, then the rename of one
    /// link over `..data`, through which `tls.crt` and `tls.key` are read. No reader finds a
    /// chain without its key.
    pub(super) fn swap(&self, number: u64, pair: &Pair) -> io::Result<()> {
        let certificates = self.certificates();
        let version = format!("..version_{number:06}");
        let folder = certificates.join(&version);
        fs::create_dir(&folder)?;
        fs::write(folder.join("tls.crt"), &pair.chain_pem)?;
        let mut key = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(folder.join("tls.key"))?;
        key.write_all(pair.key_pem.as_bytes())?;

        let data = certificates.join("..data");
        let before = fs::read_link(&data).ok();
        let staged = certificates.join("..data_tmp");
        symlink(&version, &staged)?;
        fs::rename(&staged, &data)?;
        match before {
            // The kubelet removes the old version at once, and so do we: that is what readers must bear.
            Some(before) => fs::remove_dir_all(certificates.join(before)),
            None => Ok(()),
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let deadline = Instant::now() + LAST_WRITES;
        // The last attempt is the one of `root`.
        while let Err(error) = fs::remove_dir_all(self.path())
            && error.kind() != io::ErrorKind::NotFound
            && Instant::now() < deadline
        {
            thread::sleep(Duration::from_millis(5));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_removed_while_somebody_still_writes_into_it() {
        let folder = Folder::create("").unwrap();
        let root = folder.path().to_owned();
        let state = root.join("state");
        fs::create_dir(&state).unwrap();
        let (begun, has_begun) = std::sync::mpsc::channel();
        let writer = thread::spawn(move || {
            let until = Instant::now() + Duration::from_millis(100);
            let mut number = 0;
            while Instant::now() < until {
                // Where one is removed, the next is there.
                let _ = fs::write(state.join(number.to_string()), "");
                number += 1;
                begun.send(()).ok();
            }
        });
        has_begun.recv().unwrap();
        drop(folder);
        assert!(!root.exists());
        writer.join().unwrap();
    }
}
