//! Who announces what, and what is known of it: bounded, and without input or output.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use jid::{BareJid, Jid};

use crate::xep::caps::hash::{self, SHA_1};
use crate::xep::disco::Info;
use crate::xml::Node;

/// Resources of one address that are kept.
const MAX_RESOURCES: usize = 64;
/// Addresses that are no contacts and are kept nevertheless.
const MAX_STRANGERS: usize = 1_000;
/// Hashes whose meaning is kept.
const MAX_HASHES: usize = 1_000;
/// Questions that wait to be asked.
const MAX_WAITING: usize = 1_000;
/// The longest `<c/>` that is kept: the bytes of its attributes together.
const MAX_ANNOUNCED_BYTES: usize = 1_024;

/// What a `<c/>` says (XEP-0115 §4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Announced {
    node: Box<str>,
    ver: Box<str>,
    hash: Option<Cow<'static, str>>,
}

/// The same as it stands in the stanza.
#[derive(Debug)]
pub(super) struct Seen<'a> {
    node: Cow<'a, str>,
    ver: Cow<'a, str>,
    hash: Option<Cow<'a, str>>,
}

/// What there is to find out.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Question {
    /// What this `ver` stands for, of everybody who announces it with SHA-1.
    Hash(String),
    /// What this address can do: its announcement cannot be verified, so that the answer holds for it alone.
    Of(Jid),
}

#[derive(Debug, Default)]
pub(super) struct Table {
    entities: HashMap<BareJid, Vec<Entity>>,
    strangers: HashSet<BareJid>,
    hashes: Hashes,
    waiting: VecDeque<Question>,
    /// The same, to be found.
    queued: HashSet<Question>,
}

/// What hashes stand for.
#[derive(Debug, Default)]
struct Hashes {
    /// Our own: where nobody announces anything else there are no others.
    own: Option<(Box<str>, Arc<Info>)>,
    others: HashMap<String, Arc<Info>>,
    /// The others, oldest first.
    ages: VecDeque<String>,
}

impl Hashes {
    fn get(&self, ver: &str) -> Option<&Arc<Info>> {
        match &self.own {
            Some((own, info)) if **own == *ver => Some(info),
            _ => self.others.get(ver),
        }
    }

    fn learn(&mut self, ver: &str, info: Arc<Info>) {
        if self.others.insert(ver.to_owned(), info).is_none() {
            self.ages.push_back(ver.to_owned());
        }
        if self.ages.len() > MAX_HASHES
            && let Some(oldest) = self.ages.pop_front()
        {
            self.others.remove(&oldest);
        }
    }
}

#[derive(Debug)]
struct Entity {
    jid: Jid,
    announced: Announced,
    /// What it answered itself, where that could not be verified.
    answered: Option<Arc<Info>>,
    /// It was asked, and did not answer what its hash promises.
    tried: bool,
}

impl<'a> Seen<'a> {
    /// None of an announcement without what it must have, or of one that is too long.
    pub(super) fn read(c: Node<'a>) -> Option<Self> {
        let (mut node, mut ver, mut hash) = (None, None, None);
        for attr in c.attrs().filter(|attr| attr.ns().is_empty()) {
            match attr.name() {
                "node" => node = Some(attr.value()),
                "ver" => ver = Some(attr.value()),
                "hash" => hash = Some(attr.value()),
                _ => {}
            }
        }
        let seen = Self { node: node?, ver: ver?, hash };
        let length = seen.node.len() + seen.ver.len() + seen.hash.as_ref().map_or(0, |hash| hash.len());
        (length <= MAX_ANNOUNCED_BYTES).then_some(seen)
    }

    pub(super) fn is_legacy(&self) -> bool {
        self.hash.is_none()
    }
}

impl PartialEq<Seen<'_>> for Announced {
    fn eq(&self, seen: &Seen<'_>) -> bool {
        (&*self.node, &*self.ver, self.hash.as_deref()) == (&*seen.node, &*seen.ver, seen.hash.as_deref())
    }
}

impl From<Seen<'_>> for Announced {
    fn from(seen: Seen<'_>) -> Self {
        let hash = seen.hash.map(|hash| if hash == SHA_1 { SHA_1.into() } else { hash.into_owned().into() });
        Self { node: seen.node.into(), ver: seen.ver.into(), hash }
    }
}

impl Announced {
    fn question(&self, jid: &Jid) -> Question {
        if self.hash.as_deref() == Some(SHA_1) { Question::Hash((&*self.ver).into()) } else { Question::Of(jid.clone()) }
    }

    /// The node to ask for (XEP-0115 §6.2). In the legacy format (§11) it stands for a part of the features only.
    pub(super) fn query_node(&self) -> Option<String> {
        self.hash.as_ref().map(|_| format!("{}#{}", self.node, self.ver))
    }
}

impl Entity {
    fn known(&self, hashes: &Hashes) -> Option<Arc<Info>> {
        let shared = if self.announced.hash.as_deref() == Some(SHA_1) { hashes.get(&self.announced.ver) } else { None };
        shared.or(self.answered.as_ref()).cloned()
    }
}

impl Table {
    /// An address, of this bare JID, announces this. If that is news and is kept, what it can do is another thing now: what is
    /// known of it, or else what there is to find out.
    pub(super) fn announce(
        &mut self,
        jid: &Jid,
        bare: &BareJid,
        seen: Seen<'_>,
        is_contact: bool,
    ) -> Option<Result<Arc<Info>, Question>> {
        let resources = self.entities.get_mut(bare);
        let known = resources.as_ref().and_then(|resources| resources.iter().position(|entity| entity.jid == *jid));
        if let (Some(resources), Some(at)) = (&resources, known)
            && resources.get(at).is_some_and(|old| old.announced == seen)
        {
            return None;
        }
        let has_room = known.is_some() || resources.as_ref().map_or(0, |resources| resources.len()) < MAX_RESOURCES;
        let is_admitted = is_contact || self.strangers.contains(bare) || self.strangers.len() < MAX_STRANGERS;
        if !has_room || !is_admitted {
            return None;
        }
        if !is_contact {
            self.strangers.insert(bare.clone());
        }
        let entity = Entity { jid: jid.clone(), announced: seen.into(), answered: None, tried: false };
        let meaning = entity.known(&self.hashes).ok_or_else(|| entity.announced.question(jid));
        match (resources, known) {
            (Some(resources), Some(at)) => resources[at] = entity,
            (Some(resources), None) => resources.push(entity),
            (None, _) => drop(self.entities.insert(bare.clone(), vec![entity])),
        }
        Some(meaning)
    }

    /// An address is gone. Returns whether it was there.
    pub(super) fn remove(&mut self, jid: &Jid) -> bool {
        let bare = jid.clone().into_bare();
        let Some(resources) = self.entities.get_mut(&bare) else { return false };
        let before = resources.len();
        resources.retain(|entity| entity.jid != *jid);
        let was_there = resources.len() < before;
        if resources.is_empty() {
            self.entities.remove(&bare);
            self.strangers.remove(&bare);
        }
        was_there
    }

    /// The session is over: nobody is there, and nothing is to be asked. What hashes stand for stays true.
    pub(super) fn clear(&mut self) {
        self.entities.clear();
        self.strangers.clear();
        self.waiting.clear();
        self.queued.clear();
    }

    pub(super) fn announced(&self, jid: &Jid) -> Option<&Announced> {
        self.entity(jid).map(|entity| &entity.announced)
    }

    /// What is known of an address.
    pub(super) fn known(&self, jid: &Jid) -> Option<Arc<Info>> {
        self.entity(jid)?.known(&self.hashes)
    }

    /// What there is to find out about an address that announces something of which nothing is known.
    pub(super) fn question(&self, jid: &Jid) -> Option<Question> {
        let entity = self.entity(jid)?;
        entity.known(&self.hashes).is_none().then(|| entity.announced.question(jid))
    }

    /// Puts a question to those that wait, if there is room. Returns whether it is the only one: whoever asks them goes on until
    /// there is none, and has to be told only then.
    pub(super) fn wait(&mut self, question: Question) -> bool {
        let is_new = self.waiting.len() < MAX_WAITING && self.queued.insert(question.clone());
        if is_new {
            self.waiting.push_back(question);
        }
        is_new && self.waiting.len() == 1
    }

    /// The next question that still has no answer.
    pub(super) fn next(&mut self) -> Option<Question> {
        while let Some(question) = self.waiting.pop_front() {
            self.queued.remove(&question);
            let open = match &question {
                Question::Hash(ver) => self.hashes.get(ver).is_none() && self.candidate(ver).is_some(),
                Question::Of(jid) => self.question(jid).is_some(),
            };
            if open {
                return Some(question);
            }
        }
        None
    }

    /// Somebody who announces this hash and was not asked yet.
    pub(super) fn candidate(&self, ver: &str) -> Option<Jid> {
        self.announcing(ver).find(|entity| !entity.tried).map(|entity| entity.jid.clone())
    }

    /// An address is asked now.
    pub(super) fn try_it(&mut self, jid: &Jid) {
        if let Some(entity) = self.entity_mut(jid) {
            entity.tried = true;
        }
    }

    /// What an address answered while it announced this. Returns for whom it is to be believed: for everybody who announces
    /// the same hash, if the hash vouches for it, else for the address alone.
    pub(super) fn answer(&mut self, jid: &Jid, announced: &Announced, info: Arc<Info>) -> Vec<Jid> {
        if announced.hash.as_deref() == Some(SHA_1) && hash::vouches(&info, &announced.ver) {
            return self.learn(&announced.ver, info);
        }
        match self.entity_mut(jid) {
            Some(entity) if entity.announced == *announced => {
                entity.answered = Some(info);
                vec![jid.clone()]
            }
            _ => Vec::new(),
        }
    }

    /// What a hash stands for, verified. Returns who announces it.
    pub(super) fn learn(&mut self, ver: &str, info: Arc<Info>) -> Vec<Jid> {
        self.hashes.learn(ver, info);
        self.announcing(ver).map(|entity| entity.jid.clone()).collect()
    }

    /// What our own hash stands for: the user's other devices may run the same program.
    pub(super) fn set_own(&mut self, ver: &str, info: Arc<Info>) {
        self.hashes.own = Some((ver.into(), info));
    }

    pub(super) fn meaning(&self, ver: &str) -> Option<&Arc<Info>> {
        self.hashes.get(ver)
    }

    fn announcing(&self, ver: &str) -> impl Iterator<Item = &Entity> {
        let same = move |entity: &&Entity| *entity.announced.ver == *ver && entity.announced.hash.as_deref() == Some(SHA_1);
        self.entities.values().flatten().filter(same)
    }

    fn entity(&self, jid: &Jid) -> Option<&Entity> {
        self.entities.get(&jid.clone().into_bare())?.iter().find(|entity| entity.jid == *jid)
    }

    fn entity_mut(&mut self, jid: &Jid) -> Option<&mut Entity> {
        self.entities.get_mut(&jid.clone().into_bare())?.iter_mut().find(|entity| entity.jid == *jid)
    }
}
