/** The plan as it is being made; the server says what it would change. */

import type { Candidate, WhatIf } from './contract';
import { call, hasServer } from './data';
import { asWritten, changed, marked, type Item } from './methods';

export type { Candidate, Item };

class PlanStore {
  items = $state<Item[]>([]);
  whatIf = $state.raw<WhatIf | null>(null);
  error = $state('');
  busy = $state(false);
  saved = $state('');
  path = $state('');
  private past: Item[][] = $state([]);
  private wanted = 0;
  private timer = 0;

  get canUndo() {
    return this.past.length > 0;
  }

  async open() {
    if (!hasServer) return;
    try {
      const stored = await call<{ items: Item[]; path: string; error?: string }>('plan');
      this.items = stored.items;
      this.path = stored.path;
      if (stored.error) this.error = stored.error;
      if (this.items.length) this.ask();
    } catch (error) {
      this.error = (error as Error).message;
    }
  }

  decisionOn(target: string): Item['decision'] | undefined {
    return this.items.find((item) => item.target === target)?.decision;
  }

  private remember() {
    this.past = [...this.past.slice(-49), $state.snapshot(this.items) as Item[]];
    this.saved = '';
  }

  mark(decision: Item['decision'], target: string, name: string) {
    this.remember();
    this.items = marked(this.items, decision, target, name);
    this.ask();
  }

  change(index: number, values: Partial<Item>, quick = false) {
    if (!quick) this.remember();
    this.saved = '';
    this.items[index] = changed(this.items[index], values);
    this.ask();
  }

  remove(index: number) {
    this.remember();
    this.items = this.items.filter((_, i) => i !== index);
    this.ask();
  }

  undo() {
    const before = this.past.at(-1);
    if (!before) return;
    this.past = this.past.slice(0, -1);
    this.items = before;
    this.saved = '';
    this.ask();
  }

  /** The what-if of the plan as it stands; of calls that overlap the last one counts. */
  ask() {
    clearTimeout(this.timer);
    if (!this.items.length) { this.whatIf = null; this.error = ''; this.wanted++; this.busy = false; return; }
    this.timer = window.setTimeout(() => void this.run(), 30);
  }

  private async run() {
    if (this.busy) { this.wanted++; return; } // the call under way is followed by another
    this.busy = true;
    const number = this.wanted;
    try {
      const answer = await call<WhatIf>('what-if', { items: asWritten(this.items) });
      if (this.items.length) this.whatIf = answer;
      this.error = '';
    } catch (error) {
      this.error = (error as Error).message;
      this.whatIf = null; // of the plan before
    }
    this.busy = false;
    if (number !== this.wanted) this.ask();
  }

  /** Every method for an item, alone. */
  compare(index: number): Promise<{ methods: Candidate[] }> {
    return call('compare', { items: asWritten(this.items), number: index + 1 });
  }

  async save() {
    try {
      const answer = await call<{ path: string; next: string }>('plan', { items: asWritten(this.items) });
      this.saved = answer.next;
      this.error = '';
    } catch (error) {
      this.error = (error as Error).message;
    }
  }
}

export const plan = new PlanStore();
