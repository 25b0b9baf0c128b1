-- The tables of the store, the same for SQLite and PostgreSQL: times are bigint microseconds since the
-- epoch (UTC), flags and severities are bigint (1 is P1), structures are JSON text.

-- One row: who may write (lease and fencing epoch), and the next delivery's number. It is one row so that
-- its lock puts every writing transaction into one order.
create table writer (
    name          text   not null primary key,
    holder        text   not null,
    epoch         bigint not null,
    until_at      bigint not null,
    next_delivery bigint not null
);
insert into writer (name, holder, epoch, until_at, next_delivery) values ('writer', '', 0, 0, 1);

-- `body` is the whole incident; the other columns repeat what is searched by. `services` is a newline
-- before, between and after the names.
create table incidents (
    id           text   not null primary key,
    fingerprint  text   not null,
    state        text   not null,
    severity     bigint not null,
    services     text   not null,
    opened_at    bigint not null,
    updated_at   bigint not null,
    resolved_at  bigint,
    revision     bigint not null,
    body         text   not null
);
create index incidents_opened on incidents (opened_at);
create index incidents_state on incidents (state, resolved_at);

create table deliveries (
    id           bigint not null primary key,
    incident_id  text   not null references incidents (id) on delete cascade,
    receiver     text   not null,
    change       text   not null,
    severity     bigint not null,
    revision     bigint not null,
    state        text   not null,
    attempts     bigint not null,
    due_at       bigint not null,
    leased_until bigint,
    leased_by    text,
    last_error   text,
    created_at   bigint not null,
    finished_at  bigint,
    unique (incident_id, receiver, change, revision)
);
create index deliveries_owed on deliveries (state, due_at);
create index deliveries_order on deliveries (incident_id, receiver, state, id);

create table receipts (
    incident_id text not null references incidents (id) on delete cascade,
    receiver    text not null,
    body        text not null,
    primary key (incident_id, receiver)
);

create table silences (
    id         text   not null primary key,
    ends_at    bigint not null,
    recurs     bigint not null,
    expired_at bigint,
    body       text   not null
);

create table memory (
    kind text   not null,
    key  text   not null,
    at   bigint not null,
    body text   not null,
    primary key (kind, key)
);
create index memory_at on memory (kind, at);
