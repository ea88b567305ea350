export const CYCLE: number;
export function countOf(round: number, side: number): number;
export function baseOf(round: number, side: number): number;
export function firstOf(round: number): number;
export function isPrepared(round: number): boolean;
export function afterOf(round: number): 'nothing' | 'pending' | 'clear';
export function responseOf(round: number, side: number, word: number): number;
