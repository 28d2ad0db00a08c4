-- The outbox of Dormouse: docs/outbox.md. For PostgreSQL 14 or newer. Run it once, in the schema that the services
-- write to; running it again changes nothing.
BEGIN;

CREATE SEQUENCE IF NOT EXISTS dormouse_outbox_id;

CREATE TABLE IF NOT EXISTS dormouse_outbox (
    id          bigint      PRIMARY KEY DEFAULT nextval('dormouse_outbox_id'),
    lane        smallint    NOT NULL DEFAULT 0,          -- set by a trigger; 0 is for rows without order
    order_key   text,                                    -- rows of one key are published one after another
    message_id  text        NOT NULL DEFAULT gen_random_uuid()::text CHECK (octet_length(message_id) <= 255),
    exchange    text        NOT NULL DEFAULT '',         -- '' and a queue's name as routing key reach that queue
    routing_key text        NOT NULL,
    due_at      timestamptz,                             -- without one it is published at once, past the worker
    key         text,                                    -- by what it can be cancelled: needs due_at
    if_exists   text        CHECK (if_exists IN ('replace', 'keep')),
    properties  jsonb       NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(properties) = 'object'),
    headers     jsonb       NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(headers) = 'object'),
    body        bytea       NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    attempts    integer     NOT NULL DEFAULT 0,          -- from here on the relay's own
    retry_at    timestamptz,
    problem     text,
    failed_at   timestamptz                              -- set aside, with the problem as reason
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000);

CREATE INDEX IF NOT EXISTS dormouse_outbox_next ON dormouse_outbox (lane, id) WHERE failed_at IS NULL;
CREATE INDEX IF NOT EXISTS dormouse_outbox_waiting ON dormouse_outbox (order_key, id)
    WHERE retry_at IS NOT NULL AND failed_at IS NULL;

-- Ids are given in the order in which the transactions of a key commit: the lock is held until then. It is one of
-- 1,024, so that a transaction with many keys does not use up PostgreSQL's locks.
CREATE OR REPLACE FUNCTION dormouse_outbox_order() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(TG_RELID::integer, hashtext(NEW.order_key) & 1023);
    NEW.lane := 1 + (hashtext(NEW.order_key) & 7);
    NEW.id := nextval('dormouse_outbox_id');
    RETURN NEW;
END $$;
CREATE OR REPLACE TRIGGER dormouse_outbox_order BEFORE INSERT ON dormouse_outbox
    FOR EACH ROW WHEN (NEW.order_key IS NOT NULL) EXECUTE FUNCTION dormouse_outbox_order();

-- Wakes the relay. It may be dropped where very many transactions commit at once, which wait for each other over it:
-- then the relay looks every outbox.poll.
CREATE OR REPLACE FUNCTION dormouse_outbox_tell() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NOTIFY dormouse_outbox;
    RETURN NULL;
END $$;
CREATE OR REPLACE TRIGGER dormouse_outbox_tell AFTER INSERT ON dormouse_outbox
    FOR EACH STATEMENT EXECUTE FUNCTION dormouse_outbox_tell();

COMMIT;
