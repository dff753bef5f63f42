use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::Pair;

/// A pair on disk, replaced as people and programs replace it.
#[derive(Debug)]
pub struct PairFiles {
    folder: PathBuf,
    linked: bool,
}

impl PairFiles {
    /// Two plain files, `chain.pem` and `key.pem`.
    pub fn plain(folder: &Path, pair: &Pair) -> Self {
        fs::create_dir_all(folder).unwrap();
        let files = Self::at(folder);
        files.write_in_place(pair);
        files
    }

    /// The plain files that are there.
    pub fn at(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            linked: false,
        }
    }

    /// A folder as Kubernetes mounts a secret: the files are links through `..data`, itself a link to a folder of one
    /// version.
    pub fn kubernetes(folder: &Path, pair: &Pair) -> Self {
        fs::create_dir_all(folder).unwrap();
        let files = Self {
            folder: folder.to_owned(),
            linked: true,
        };
        files.swap_links(pair);
        symlink("..data/chain.pem", files.chain()).unwrap();
        symlink("..data/key.pem", files.key()).unwrap();
        files
    }

    /// The chain's path.
    pub fn chain(&self) -> PathBuf {
        self.folder.join("chain.pem")
    }

    /// The key's path.
    pub fn key(&self) -> PathBuf {
        self.folder.join("key.pem")
    }

    /// Both files written over, one after the other: for a moment they do not fit each other.
    pub fn write_in_place(&self, pair: &Pair) {
        assert!(!self.linked);
        fs::write(self.chain(), &pair.chain).unwrap();
        fs::write(self.key(), &pair.key).unwrap();
    }

    /// Both files written aside and moved into place, the key first.
    pub fn rename(&self, pair: &Pair) {
        assert!(!self.linked);
        for (path, text) in [(self.key(), &pair.key), (self.chain(), &pair.chain)] {
            let aside = path.with_extension("new");
            fs::write(&aside, text).unwrap();
            fs::rename(&aside, &path).unwrap();
        }
    }

    /// A new version beside the old one, then `..data` moved over to it in one step, then the old one removed.
    pub fn swap_links(&self, pair: &Pair) {
        assert!(self.linked);
        let data = self.folder.join("..data");
        let old = fs::read_link(&data).ok();
        let version = format!("..version_{}", pair.serial);
        fs::create_dir(self.folder.join(&version)).unwrap();
        fs::write(self.folder.join(&version).join("chain.pem"), &pair.chain).unwrap();
        fs::write(self.folder.join(&version).join("key.pem"), &pair.key).unwrap();
        let aside = self.folder.join("..data_new");
        symlink(&version, &aside).unwrap();
        fs::rename(&aside, &data).unwrap();
        if let Some(old) = old {
            fs::remove_dir_all(self.folder.join(old)).unwrap();
        }
    }
}
