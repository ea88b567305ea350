export const CYCLE: number;
/** Responses of the rounds of a cycle. */
export type Counts = readonly number[];
export const COUNTS: { readonly any: Counts; readonly few: Counts };
export function countOf(counts: Counts, round: number, side: number): number;
export function baseOf(counts: Counts, round: number, side: number): number;
export function firstOf(round: number): number;
export function isPrepared(round: number): boolean;
export function afterOf(round: number): 'nothing' | 'pending' | 'clear';
export function responseOf(round: number, side: number, word: number): number;
