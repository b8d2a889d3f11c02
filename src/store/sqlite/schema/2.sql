ALTER TABLE sent ADD COLUMN cut INTEGER;    -- when the lost session was cut in which it was written
