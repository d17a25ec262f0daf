create table counter (
	one     boolean primary key default true check (one),
	version integer not null,
	next    bigint  not null,
	kept    bigint  not null
) with (fillfactor = 10);

create sequence batch_ids;

create table batches (
	id    bigint primary key,
	first bigint not null
);

create table dedup (
	key     bytea   not null primary key,
	batch   bigint  not null,
	place   integer not null,
	idx     integer not null,
	content bytea   not null,
	at      bigint  not null
) partition by hash (key);

create table records (
	seq    bigint not null primary key,
	events bytea  not null,
	raw    bytea
) partition by range (seq);
alter table records alter column events set storage external, alter column raw set storage external;

create table kept (
	seq      bigint not null primary key,
	received bigint not null,
	tenant   bytea  not null,
	endpoint bytea  not null,
	held     boolean not null default false
);

create table damaged (
	seq  bigint not null primary key,
	what text   not null
);

create table sinks (
	name        text    not null primary key,
	filter      bytea   not null,
	ordered     boolean not null,
	paused      boolean not null default false,
	seq         bigint  not null,
	idx         integer not null default 0,
	turn        boolean not null default false,
	walks       integer not null default 0,
	taken       bigint  not null default 0,
	replay_from text,
	replay_to   text,
	replay_at   text
) with (fillfactor = 50);

create table deliveries (
	sink     text    not null,
	seq      bigint  not null,
	idx      integer not null,
	walk     integer not null,
	token    bigint  not null default 0,
	node     text    not null default '',
	due      bigint  not null,
	parked   boolean not null default false,
	attempts integer not null default 0,
	first    bigint  not null default 0,
	subject  bytea,
	event    bytea,
	primary key (sink, seq, idx, walk)
) with (autovacuum_vacuum_scale_factor = 0.02);
create index deliveries_due on deliveries (sink, due, seq, idx, walk);
create index deliveries_subject on deliveries (sink, subject, seq, idx, walk) where subject is not null;
create unique index deliveries_token on deliveries (token) where token <> 0;

create table dead (
	sink     text    not null,
	seq      bigint  not null,
	idx      integer not null,
	walk     integer not null,
	id       bytea   not null,
	died     bigint  not null,
	attempts integer not null,
	first    bigint  not null,
	reason   bytea   not null,
	answer   bytea   not null,
	subject  bytea,
	event    bytea   not null,
	primary key (sink, seq, idx, walk)
);
create index dead_died on dead (sink, died, seq, idx, walk);

create sequence rejected_ids;

create table rejected (
	id       bigint not null primary key default nextval('rejected_ids'),
	tenant   bytea  not null,
	endpoint bytea  not null,
	reason   bytea  not null,
	body     bytea  not null,
	count    bigint not null,
	received bigint not null,
	last     bigint not null,
	callback bytea  not null,
	unique (tenant, endpoint, reason, body)
);

insert into counter (version, next, kept) values (2, 1, 0);
