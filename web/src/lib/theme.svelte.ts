/** The colour scheme that is on, for what is drawn on a canvas and has to be drawn again when it changes. */
let name = $state(document.documentElement.dataset.theme ?? '');
new MutationObserver(() => (name = document.documentElement.dataset.theme ?? '')).observe(document.documentElement, { attributeFilter: ['data-theme'] });

export const theme = { get name() { return name; } };
