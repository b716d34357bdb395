-- The id of a key comes from the request that makes it. A request whose process died before it could answer is carried
-- out again under the same id: nobody saw the first secret, and the new one takes its place.

GRANT UPDATE (hash, ending) ON api_key TO {api_role};

-- A party that is forgotten takes the answers about it along, and leaves their keys, so that nothing is done again.
REVOKE DELETE ON idempotency FROM {app_role};
GRANT SELECT (key), UPDATE (status, headers, body, memo) ON idempotency TO {app_role};
