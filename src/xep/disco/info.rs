//! What somebody is and can do, as a value.

use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};

use xmpp_parsers::data_forms::{DataForm, DataFormType, Field, FieldType};
use xmpp_parsers::disco::{DiscoInfoResult, Identity};

use crate::xml::{Node, ns};

/// What somebody is and can do: identities, features, and extended information (XEP-0030 §3, XEP-0128).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Info {
    identities: Vec<Identity>,
    features: Vec<String>,
    forms: Vec<InfoForm>,
    ill_formed: bool,
}

/// A form of extended information (XEP-0128): fields with their values, under the name of its `FORM_TYPE`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InfoForm {
    form_type: String,
    fields: Vec<(String, Vec<String>)>,
}

impl Info {
    /// Of these identities, features and forms; their order does not matter, what is there twice is there once.
    #[must_use]
    pub fn new(
        identities: impl IntoIterator<Item = Identity>,
        features: impl IntoIterator<Item = String>,
        forms: impl IntoIterator<Item = InfoForm>,
    ) -> Self {
        let mut info = Self {
            identities: identities.into_iter().collect(),
            features: features.into_iter().collect(),
            forms: forms.into_iter().collect(),
            ill_formed: false,
        };
        info.settle();
        info.ill_formed = false;
        info
    }

    /// Reads a `<query/>` of an answer.
    ///
    /// What cannot be read is left out: an identity without category or type, a feature without name, a form without
    /// `FORM_TYPE` or with one that is not hidden (XEP-0115 §5.4).
    #[must_use]
    pub fn read(query: Node<'_>) -> Self {
        let mut info = Self::default();
        for child in query.children() {
            if child.is(ns::DISCO_INFO, "identity") {
                info.identities.extend(read_identity(child));
            } else if child.is(ns::DISCO_INFO, "feature") {
                info.features.extend(child.attr("var").map(Cow::into_owned));
            } else if child.is(ns::DATA_FORMS, "x") {
                match InfoForm::read(child) {
                    Ok(form) => info.forms.extend(form),
                    Err(Contradiction) => info.ill_formed = true,
                }
            }
        }
        info.settle();
        info
    }

    /// The value as this process keeps it, once for all who say the same of themselves: many clients know one server, and most
    /// contacts run one of a few programs.
    #[must_use]
    pub fn shared(self) -> Arc<Self> {
        static POOL: LazyLock<Mutex<Pool>> = LazyLock::new(Mutex::default);
        POOL.lock().unwrap_or_else(PoisonError::into_inner).share(self)
    }

    /// What they are, sorted by category, type and language.
    #[must_use]
    pub fn identities(&self) -> &[Identity] {
        &self.identities
    }

    /// Whether this is one of their identities, for example `conference`, `text`; see the registry of categories and types.
    #[must_use]
    pub fn is(&self, category: &str, type_: &str) -> bool {
        self.identities.iter().any(|identity| identity.category == category && identity.type_ == type_)
    }

    /// The features they support, sorted.
    #[must_use]
    pub fn features(&self) -> &[String] {
        &self.features
    }

    /// Whether they support a feature.
    #[must_use]
    pub fn supports(&self, feature: &str) -> bool {
        self.features.binary_search_by(|own| own.as_str().cmp(feature)).is_ok()
    }

    /// Their forms, sorted by `FORM_TYPE`.
    #[must_use]
    pub fn forms(&self) -> &[InfoForm] {
        &self.forms
    }

    /// The form with this `FORM_TYPE`.
    #[must_use]
    pub fn form(&self, form_type: &str) -> Option<&InfoForm> {
        self.forms.iter().find(|form| form.form_type == form_type)
    }

    /// Whether the answer it was read from said something twice, or a form had two names: no hash can vouch for such an
    /// answer (XEP-0115 §5.4).
    #[must_use]
    pub fn is_ill_formed(&self) -> bool {
        self.ill_formed
    }

    /// The payload that says this, as an answer to who asked for this node.
    #[must_use]
    pub fn to_wire(&self, node: Option<String>) -> DiscoInfoResult {
        DiscoInfoResult {
            node,
            identities: self.identities.clone(),
            features: self.features.iter().cloned().collect(),
            extensions: self.forms.iter().map(InfoForm::to_wire).collect(),
        }
    }

    /// Sorts as hashes want it, and takes out what is there twice.
    fn settle(&mut self) {
        let before = (self.identities.len(), self.features.len(), self.forms.len());
        fn key(identity: &Identity) -> (&str, &str, &str, &str) {
            let (lang, name) = (identity.lang.as_deref(), identity.name.as_deref());
            (&identity.category, &identity.type_, lang.unwrap_or_default(), name.unwrap_or_default())
        }
        self.identities.sort_by(|a, b| key(a).cmp(&key(b)));
        self.identities.dedup_by(|a, b| key(a) == key(b));
        self.features.sort_unstable();
        self.features.dedup();
        self.forms.sort_by(|a, b| a.form_type.cmp(&b.form_type));
        self.forms.dedup_by(|a, b| a.form_type == b.form_type);
        self.ill_formed |= before != (self.identities.len(), self.features.len(), self.forms.len());
    }
}

impl Hash for Info {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for Identity { category, type_, lang, name } in &self.identities {
            (category, type_, lang, name).hash(state);
        }
        (&self.features, &self.forms, self.ill_formed).hash(state);
    }
}

/// The values that somebody keeps.
#[derive(Default)]
struct Pool {
    hasher: RandomState,
    values: HashMap<u64, Vec<Weak<Info>>>,
    /// When there are as many, those that nobody keeps any more are taken out.
    full: usize,
}

impl Pool {
    fn share(&mut self, info: Info) -> Arc<Info> {
        let hash = self.hasher.hash_one(&info);
        let mut alike = self.values.get(&hash).into_iter().flatten().filter_map(Weak::upgrade);
        if let Some(known) = alike.find(|known| **known == info) {
            return known;
        }
        if self.values.len() >= self.full {
            self.values.retain(|_, alike| alike.iter().any(|value| value.strong_count() > 0));
            self.full = (2 * self.values.len()).max(64);
        }
        let info = Arc::new(info);
        self.values.entry(hash).or_default().push(Arc::downgrade(&info));
        info
    }
}

impl InfoForm {
    /// A form with these fields, each with its values.
    #[must_use]
    pub fn new(form_type: impl Into<String>, fields: impl IntoIterator<Item = (String, Vec<String>)>) -> Self {
        let mut fields: Vec<_> = fields.into_iter().collect();
        for (_, values) in &mut fields {
            values.sort_unstable();
        }
        fields.sort_unstable();
        Self { form_type: form_type.into(), fields }
    }

    /// The form's name.
    #[must_use]
    pub fn form_type(&self) -> &str {
        &self.form_type
    }

    /// Its fields, sorted by name, each with its values, sorted.
    pub fn fields(&self) -> impl ExactSizeIterator<Item = (&str, &[String])> {
        self.fields.iter().map(|(var, values)| (var.as_str(), values.as_slice()))
    }

    /// The values of a field; none if there is no such field.
    #[must_use]
    pub fn values(&self, var: &str) -> &[String] {
        self.fields.iter().find(|(own, _)| own == var).map_or(&[], |(_, values)| values.as_slice())
    }

    /// The value of a field that has one.
    #[must_use]
    pub fn value(&self, var: &str) -> Option<&str> {
        match self.values(var) {
            [value] => Some(value),
            _ => None,
        }
    }

    /// None of a form without a name, which is to be ignored.
    fn read(form: Node<'_>) -> Result<Option<Self>, Contradiction> {
        let mut names: Vec<String> = Vec::new();
        let mut fields = Vec::new();
        for field in form.children().filter(|child| child.is(ns::DATA_FORMS, "field")) {
            let var = field.attr("var").unwrap_or_default();
            let values = field.children().filter(|child| child.is(ns::DATA_FORMS, "value"));
            let values = values.map(|value| value.text().into_owned());
            if var != "FORM_TYPE" {
                fields.push((var.into_owned(), values.collect()));
            } else if field.attr("type").as_deref() == Some("hidden") {
                names.extend(values);
            }
        }
        names.sort_unstable();
        names.dedup();
        match names.len() {
            0 | 1 => Ok(names.pop().map(|name| Self::new(name, fields))),
            _ => Err(Contradiction),
        }
    }

    fn to_wire(&self) -> DataForm {
        let field = |(var, values): &(String, Vec<String>)| {
            let kind = if values.len() > 1 { FieldType::TextMulti } else { FieldType::TextSingle };
            let mut field = Field::new(var, kind);
            field.values.clone_from(values);
            field
        };
        DataForm::new(DataFormType::Result_, &self.form_type, self.fields.iter().map(field).collect())
    }
}

/// A form with more than one name.
struct Contradiction;

/// Its own language only: one that it inherits from the stanza is no part of what hashes are made from.
fn read_identity(node: Node<'_>) -> Option<Identity> {
    Some(Identity {
        category: node.attr("category")?.into_owned(),
        type_: node.attr("type")?.into_owned(),
        lang: node.attr_ns(ns::XML, "lang").map(Cow::into_owned),
        name: node.attr("name").map(Cow::into_owned),
    })
}
