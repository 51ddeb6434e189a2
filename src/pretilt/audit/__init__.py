"""From pairs and features to ranked hypotheses: effects, evidence and the doctor."""
