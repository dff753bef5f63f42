//! The verdicts of OpenSSL, curl, Go and Java on pairs of all kinds, and h2gate's own: docs/certificate_pairs.md.
//!
//! h2gate takes what all four take and refuses what all four refuse, or the table says why not.

mod fed;
mod judges;
mod kinds;
mod server;
mod table;

use std::collections::BTreeMap;

use e2e::busy;

use fed::Fate;
use judges::{Answers, Question};
use kinds::{Kind, Kinds, Sort};

/// The results for one kind.
#[derive(Debug)]
struct Row {
    /// The clients' verdicts on the pair as it came; `None` if there is nothing that they could be asked about.
    came: Option<Answers>,
    /// The clients' verdicts on what h2gate serves of it, if they can be asked.
    served: Option<Answers>,
    fate: Fate,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_table_of_pairs_is_true() {
    let _busy = busy().await;
    let kinds = Kinds::make().await;
    let ((versions, came), (fed, ordered)) = tokio::join!(judge_what_came(&kinds), async {
        tokio::join!(fed::feed(&kinds), fed::order(&kinds))
    },);
    let ((fed, mut fates), (ordered, more)) = (fed, ordered);
    fates.extend(more);
    let questions = kinds.all().iter().filter_map(|kind| {
        let address = match kinds.listener_of(kind) {
            Some(position) => fed.listener(position),
            None => ordered.address(),
        };
        let is_served = matches!(fates[&kind.id], Fate::Serves(_));
        is_served.then(|| kinds.serve(kind, address.port()))
    });
    let (_, served) = judges::ask(&questions.collect::<Vec<_>>(), kinds.folder()).await;

    let mut rows = BTreeMap::new();
    for kind in kinds.all() {
        let row = Row {
            came: came.get(kind.like.as_ref().unwrap_or(&kind.id)).cloned(),
            served: served.get(&kind.id).cloned(),
            fate: fates.remove(&kind.id).unwrap(),
        };
        rows.insert(kind.id.clone(), row);
    }
    table::judge(&kinds, &rows, &versions);
}

/// Chains are served exactly as they are, and pairs in files are read.
async fn judge_what_came(kinds: &Kinds) -> (Vec<String>, BTreeMap<String, Answers>) {
    let mut servers = Vec::new();
    let mut questions = Vec::new();
    let mut good = 0;
    for kind in kinds.all().iter().filter(|kind| kind.sort == Sort::Chain) {
        let server = server::serve(kinds, kind).await;
        questions.push(kinds.serve(kind, server.port()));
        if kind.id == "good" {
            good = server.port();
        }
        servers.push(server);
    }
    let read = |kind: &Kind| kinds.read(kind, good);
    questions.extend(kinds.all().iter().filter_map(read));
    judges::ask(&questions, kinds.folder()).await
}
