/** What the words of the page mean. */

export const OF_VERIFICATION: [string, string][] = [
  ['forecast', 'One number a concept, computed from the pairs before training: will the model\'s answers show it more (+) or less (−)? Its sign and its ratios mean something, its size only after a scale is fitted.'],
  ['seen', 'The mean score of the trained model\'s answers minus that of the untrained one\'s, on the same prompts. The lines are 1.96 standard errors; near-duplicate prompts count once.'],
  ['R²', 'The squared correlation of foretold and seen over the concepts, with the sign of the correlation: 1 all of it, 0 nothing, below 0 the wrong way round.'],
  ['possible (rel_y)', 'How well what was seen on one half of the prompts agrees with the other half, stepped up to all of them: the R² of a forecast without any error. If it is below .5 nothing could have succeeded, and a low R² is no failure.'],
  ['reachable', 'The same once the noise of the forecast is counted too, since the pairs are finite: what the right law would reach from so few pairs.'],
  ['rung', 'A way to forecast: the mean difference of the pairs (mean), the same through the model\'s own spread (one_step), at the optimum (converged), or by re-weighting sampled answers (tilt).'],
  ['length, prevalence', 'Forecasts without skill: that only the length changes, as it did; that what is said often moves most. Either can reach a high R² by itself, so a forecast must beat both.'],
  ['shuffled', 'The declared rung on the same pairs with chosen and rejected exchanged by a coin for every family: the same noise, and nothing to forecast.'],
  ['can be seen', 'The shift is more than two standard errors from 0. Only then has its sign been seen.'],
  ['interval', 'Where the shift should be seen with 95 % probability: scale, noise and what the forecast misses beyond noise come from one half of the prompts, and the share that is held is counted on the other. Noise alone: intervals that take the forecast to be exact.'],
  ['sealed', 'When training began, the run held this very forecast: the same bytes, by their SHA-256.'],
  ['between, within', 'Of the cells (a set of prompts, a concept), between is the mean of each concept over the sets; within is what is left.'],
];

export const OF_AUDIT: [string, string][] = [
  ['pair', 'A prompt with a chosen and a rejected response. Training on it makes the model more like the chosen one.'],
  ['▲ amplify, ▼ suppress', 'The chosen responses show it more: training would strengthen it. The rejected ones do: training would weaken it.'],
  ['concept', 'Patterns of the text, detectors, features that fire together, or one feature that belongs to no such community; by prompt, features that shift together between chosen and rejected. Names of features are words on which they fire, found without a language model; the pairs say what they mean.'],
  ['feature', 'One unit of the dictionary (sparse autoencoder). It fires on some tokens and is silent on the others.'],
  ['group', 'Pairs that are about the same thing, from what both responses express, blind to which was chosen. Group 0 is silent: too little fires there. Its effect is the difference between the pairs inside and those of the other groups.'],
  ['prompt concept', 'Features that are present on the same prompts, whatever the responses say. The prompts on which most of them fire are the ones about it; a prompt can be about several. Its effect is the difference to all other prompts.'],
  ['max, freq', 'What counts of a feature in a text: its strongest firing (max), or the share of tokens on which it fires (freq). Max sees what is said once, freq what pervades the text.'],
  ['effect', 'The posterior mean: the observed difference drawn towards 0, the more the noisier it is, by what all effects of the view together look like, with an interval that holds it with at least 95 % probability. Everywhere: the mean of u over all pairs; elsewhere: inside less outside.'],
  ['sd', 'The unit of effects by prompt: by how many standard deviations, taken over all pairs, the concept\'s features fire more in chosen than in rejected, on average.'],
  ['sure', 'Three things hold. The sign is right with a probability above 95 %. It stands out among all tests: q is at most 0.05. It rests on at least 10 independent pairs. “Probably” beside it: sure by these three, but something that is named speaks against it, as length. What is faint is unsure: it may be chance, and no list of it is a finding.'],
  ['q', 'False discovery rate: the share of false ones to expect among this test and all that are at least as clear, of every test of every view, shown or not.'],
  ['sign flips', 'Chosen and rejected are swapped at random, whole families at a time: the share of such draws that give an effect as large as this one. For effects over all pairs.'],
  ['held out', 'Of an effect: the families are cut in two; where one half puts it among its best, the other half estimates it, free of the luck that brought it to the top. Of pairs: set apart before anything was fitted; no effect comes from them.'],
  ['family', 'Pairs that are not independent: near-duplicate prompts or responses, fillings of one template, one source item, one beginning of a conversation. Intervals count families.'],
  ['share of an effect', 'The part of the observed effect that one pair accounts for; over all pairs the shares sum to it. Pairs elsewhere contribute through the comparison.'],
  ['goes with length', 'The concept\'s u correlates with the difference in length. Longer responses fire more features; such an effect may be length alone.'],
  ['lens', 'Model, layer and dictionary: what the pairs were read through. Its measurement id names it with all settings that change a number.'],
  ['doctor', 'Checks of the lens on these pairs. Green: as a sound lens gives. Amber: look twice. Red: what comes of it is worthless. Not run is never green.'],
];
