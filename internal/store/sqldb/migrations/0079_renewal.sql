-- What all proofs of a sign-in came to, while another password is chosen.
ALTER TABLE signin_flow ADD COLUMN proved TEXT NOT NULL DEFAULT '';
