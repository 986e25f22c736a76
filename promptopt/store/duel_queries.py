"""The statements by which duels are served and verdicts read; the tables are described in ``schema.py``."""

from sqlalchemy import text

# Of a person's duels: the one on screen (one just taken back before another), the oldest that no catch trial has asked
# again, the next open one, and one that only a judge has decided. The CROSS JOIN keeps SQLite from walking through all
# duels of the study instead of the few that are on screens.
ON_SCREEN = text("""
SELECT duel FROM duel_leases CROSS JOIN duels ON duels.id = duel
WHERE study = :study AND labeller = :labeller AND expires > :now ORDER BY expires DESC LIMIT 1
""")
TO_CATCH = text("""
SELECT p.duel FROM preferences AS p JOIN duels ON duels.id = p.duel
WHERE study = :study AND p.labeller = :labeller AND p.source = 'human' AND p.catch = 0
  AND p.takes_back IS NULL AND p.taken_back IS NULL
  AND NOT EXISTS (SELECT 1 FROM preferences AS c WHERE c.duel = p.duel AND c.labeller = :labeller AND c.catch = 1
                  AND c.takes_back IS NULL AND c.taken_back IS NULL)
ORDER BY p.number LIMIT 1
""")
NEXT_OPEN = text("""
SELECT id FROM duels
WHERE study = :study AND state = 'open'
  AND NOT EXISTS (SELECT 1 FROM preferences AS p WHERE p.duel = duels.id AND p.labeller = :labeller
                  AND p.source = 'human' AND p.takes_back IS NULL AND p.taken_back IS NULL)
  AND quorum > (SELECT COUNT(*) FROM preferences AS p WHERE p.duel = duels.id AND p.source = 'human' AND p.catch = 0
                AND p.takes_back IS NULL AND p.taken_back IS NULL)
             + (SELECT COUNT(*) FROM duel_leases AS l WHERE l.duel = duels.id AND l.labeller != :labeller
                AND l.expires > :now)
ORDER BY number, place LIMIT 1
""")
TO_AUDIT = text("""
SELECT id FROM duels
WHERE study = :study AND state = 'settled' AND quorum = 0
  AND NOT EXISTS (SELECT 1 FROM preferences AS p WHERE p.duel = duels.id AND p.source IN ('human', 'outputs')
                  AND p.takes_back IS NULL AND p.taken_back IS NULL)
  AND NOT EXISTS (SELECT 1 FROM duel_leases AS l WHERE l.duel = duels.id AND l.expires > :now)
ORDER BY number, place LIMIT 1
""")
# Whether somebody's last verdicts are so many and no catch trial among them, while others wait to be given.
CATCH_IS_DUE = text("""
SELECT COUNT(*) = :every AND COALESCE(SUM(catch), 0) = 0
       AND EXISTS (SELECT 1 FROM duels WHERE study = :study AND state = 'open')
FROM (
    SELECT catch FROM preferences AS p JOIN duels ON duels.id = p.duel
    WHERE study = :study AND labeller = :labeller AND source = 'human' AND takes_back IS NULL AND taken_back IS NULL
    ORDER BY p.number DESC LIMIT :every
)
""")
VALID = text("""
SELECT p.*, duels."left", duels."right", duels.example FROM preferences AS p JOIN duels ON duels.id = p.duel
WHERE duels.study = :study AND p.takes_back IS NULL AND p.number <= :upto
  AND (p.taken_back IS NULL OR p.taken_back > :upto)
ORDER BY duels.number, duels.place, p.labeller, p.number
""")
LAST_GIVEN = text("""
SELECT p.id FROM preferences AS p JOIN duels ON duels.id = p.duel
WHERE study = :study AND labeller = :labeller AND source = 'human' AND takes_back IS NULL AND taken_back IS NULL
ORDER BY p.number DESC LIMIT 1
""")
VOTES = text("""
SELECT COUNT(*), COALESCE(SUM(source = 'human' AND catch = 0), 0), COALESCE(SUM(source = 'outputs'), 0) FROM preferences
WHERE duel = :duel AND takes_back IS NULL AND taken_back IS NULL
""")
SHOWN = text("""
SELECT duels.*, examples.body, l.output AS left_output, r.output AS right_output FROM duels
JOIN examples ON examples.id = duels.example
LEFT JOIN outcomes AS l ON l.request_key = left_outcome
LEFT JOIN outcomes AS r ON r.request_key = right_outcome
WHERE duels.id = :duel
""")
AT_WORK = text("""
SELECT COUNT(DISTINCT labeller) FROM duel_leases CROSS JOIN duels ON duels.id = duel
WHERE study = :study AND expires > :now
""")
BY_STATE = text("SELECT state, COUNT(*) FROM duels WHERE study = :study GROUP BY state")
BY_LABELLER = text("""
SELECT labeller, COUNT(*) FROM preferences JOIN duels ON duels.id = duel
WHERE study = :study AND source = 'human' AND catch = 0 AND takes_back IS NULL AND taken_back IS NULL
GROUP BY labeller ORDER BY labeller
""")
LAST_RECOMMENDATION = text("""
SELECT payload FROM asks WHERE study = :study AND kind = 'recommend' AND payload IS NOT NULL AND path GLOB '[0-9]*'
ORDER BY number DESC LIMIT 1
""")
