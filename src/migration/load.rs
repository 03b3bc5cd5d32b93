//! Reading the legacy documents, and what their decisions hang on: a chunk at a time, however many there are.

use crate::documents::legacy::{collections, key_collection};
use crate::firestore::StoreError;
use crate::firestore::reader::{Chunk, Collection, Reader};
use crate::migration::diff::{Diff, Facts, Intent, Wanted, intent};
use crate::migration::owners::Owners;
use crate::migration::reason::Reason;
use crate::migration::stored::Stored;
use crate::model::ids::DocumentId;
use gcloud_sdk::google::firestore::v1::Document;
use std::collections::{BTreeSet, HashMap};

/// Enough to know whether there is only one.
const SOME_MEMBERS: usize = 2;

/// Names no document: what is read of a member is only that they are one.
const NAME_ONLY: [&str; 1] = ["__name__"];

/// A legacy document with what comes of it.
#[derive(Debug)]
pub(crate) struct Judged {
    pub(crate) document: Stored,
    pub(crate) diff: Diff,
}

impl Judged {
    /// A document below a legacy one.
    #[must_use]
    pub(crate) fn below(document: Stored) -> Self {
        Self { document, diff: Diff::without_change(Reason::BelowLegacy, None) }
    }
}

/// Reads legacy documents.
#[derive(Debug)]
pub(crate) struct Loader<'a> {
    reader: Reader,
    owners: &'a Owners,
}

impl<'a> Loader<'a> {
    pub(crate) fn new(reader: Reader, owners: &'a Owners) -> Self {
        Self { reader, owners }
    }

    /// Gives all legacy documents to `each`, a chunk at a time. The next chunk is read meanwhile.
    pub(crate) async fn walk<E: From<StoreError>>(
        &self,
        mut each: impl AsyncFnMut(Vec<Judged>) -> Result<(), E>,
    ) -> Result<(), E> {
        let ordered = collections().into_iter().chain([key_collection()]);
        self.walk_through(ordered, &mut each).await
    }

    /// The same in the opposite order, for deletions: each document still finds those that are taken before it.
    pub(crate) async fn walk_back<E: From<StoreError>>(
        &self,
        mut each: impl AsyncFnMut(Vec<Judged>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.walk_through(collections().into_iter().rev(), &mut each).await
    }

    async fn walk_through<E: From<StoreError>>(
        &self,
        ordered: impl Iterator<Item = Collection<'static>>,
        each: &mut impl AsyncFnMut(Vec<Judged>) -> Result<(), E>,
    ) -> Result<(), E> {
        for collection in ordered {
            let collection = &collection;
            let mut next = Some(self.reader.chunk(collection, None, None).await?);
            while let Some(Chunk { documents, is_last }) = next {
                let last = documents.last().map(|document| document.name.clone());
                let reading = self.behind(collection, last.filter(|_| !is_last));
                let working = async { each(self.judge(documents).await?).await };
                let (read, worked) = futures::join!(reading, working);
                worked?;
                next = read?;
            }
        }
        Ok(())
    }

    async fn behind(
        &self,
        collection: &Collection<'_>,
        last: Option<String>,
    ) -> Result<Option<Chunk>, StoreError> {
        match last {
            Some(last) => self.reader.chunk(collection, Some(&last), None).await.map(Some),
            None => Ok(None),
        }
    }

    /// What comes of these documents. Those that are no legacy ones are left out.
    pub(crate) async fn judge(&self, documents: Vec<Document>) -> Result<Vec<Judged>, StoreError> {
        let intended = |document: Stored| {
            let intent = intent(&document, self.owners)?;
            Some((document, intent))
        };
        let intended: Vec<(Stored, Intent)> =
            documents.into_iter().filter_map(Stored::of).filter_map(intended).collect();
        let facts = self.facts(intended.iter().map(|(_, intent)| intent.wanted()).collect()).await?;
        let settle = |(document, intent): (Stored, Intent)| Judged {
            diff: intent.settle(&document, &facts, self.owners),
            document,
        };
        Ok(intended.into_iter().map(settle).collect())
    }

    /// The document of that path as it is now, with what comes of it; nothing if there is none.
    pub(crate) async fn judge_again(&self, path: &str) -> Result<Option<Judged>, StoreError> {
        let name = self.name(path);
        let found = self.reader.found(&[name]).await?;
        Ok(self.judge(found.documents.into_values().collect()).await?.pop())
    }

    /// Whether there is a document of that path.
    pub(crate) async fn exists(&self, path: &str) -> Result<bool, StoreError> {
        Ok(!self.reader.found(&[self.name(path)]).await?.documents.is_empty())
    }

    async fn facts(&self, wanted: Vec<Wanted>) -> Result<Facts, StoreError> {
        let mut paths: Vec<&String> = wanted.iter().flat_map(|wanted| &wanted.documents).collect();
        paths.sort_unstable();
        paths.dedup();
        let names: Vec<String> = paths.into_iter().map(|path| self.name(path)).collect();
        let found = self.reader.found(&names).await?;
        let documents = found.documents.into_values().filter_map(Stored::of);
        let documents = documents.map(|document| (document.path.clone(), document)).collect();
        let tenants: BTreeSet<&str> =
            wanted.iter().filter_map(|wanted| wanted.members_of.as_ref()).map(DocumentId::as_str).collect();
        let mut members = HashMap::new();
        for tenant in tenants {
            members.insert(tenant.to_owned(), self.members(tenant).await?);
        }
        Ok(Facts { documents, members })
    }

    async fn members(&self, tenant: &str) -> Result<Vec<DocumentId>, StoreError> {
        let parent = format!("tenants/{tenant}");
        let collection =
            Collection { parent: &parent, id: "users", is_group: false, fields: Some(&NAME_ONLY) };
        let members = self.reader.chunk(&collection, None, Some(SOME_MEMBERS)).await?;
        Ok(members.documents.iter().map(|member| DocumentId::of_existing(&member.name)).collect())
    }

    fn name(&self, path: &str) -> String {
        self.reader.database().document(format_args!("{path}"))
    }
}
